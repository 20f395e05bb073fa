/* Words that decide where an English sentence ends. The abbreviations, the words that often begin a sentence and the words
 * that follow a number without one are facts about the splitter which the published verdicts were made with (Punkt,
 * Kiss and Strunk, Computational Linguistics 32(4), 2006). The common words are the most frequent ones of the prompts of
 * GSM8K, IFEval, HumanEval and MBPP: those that splitter has met in lower case only, and those it also met capitalised
 * inside a sentence. */
#include <stdlib.h>
#include <string.h>

#include "reward/rules/sentences.h"

// clang-format off
static const char *const abbreviations[] = {
    "a.a", "a.c", "a.d", "a.g", "a.h", "a.m", "a.m.e", "a.s", "a.t", "adm", "ala", "ariz", "aug",
    "ave", "b.f", "b.v", "bros", "c", "c.i.t", "c.o.m.b", "c.v", "calif", "chg", "cie", "co", "col",
    "colo", "conn", "corp", "cos", "ct", "d", "d.c", "d.h", "d.w", "dec", "dr", "e", "e.f", "e.h",
    "e.l", "e.m", "f", "f.g", "f.j", "feb", "fla", "fri", "ft", "g", "g.d", "g.f", "g.k", "ga",
    "gen", "h", "h.c", "h.f", "h.m", "i.m.s", "ill", "inc", "j.b", "j.c", "j.j", "j.k", "j.p",
    "j.r", "jan", "jr", "k", "kan", "ky", "l", "l.a", "l.f", "l.p", "lt", "ltd", "m", "m.b.a",
    "m.d.c", "m.j", "maj", "messrs", "mg", "mich", "minn", "mr", "mrs", "ms", "n", "n.c", "n.d",
    "n.h", "n.j", "n.m", "n.v", "n.y", "nev", "nov", "oct", "ok", "okla", "ore", "p", "p.a.m",
    "p.m", "pa", "ph.d", "prof", "r", "r.a", "r.h", "r.i", "r.j", "r.k", "r.t", "rep", "reps", "s",
    "s.a", "s.a.y", "s.c", "s.g", "s.p.a", "s.s", "sen", "sep", "sept", "sr", "st", "sw", "t",
    "t.j", "tenn", "tues", "u.k", "u.n", "u.s", "u.s.a", "u.s.s.r", "v", "va", "vs", "vt", "w",
    "w.c", "w.r", "w.va", "w.w", "wash", "wed", "wis", "yr",
};

static const char *const starters[] = {
    "according", "although", "among", "both", "but", "despite", "even", "he", "however", "i", "if",
    "in", "indeed", "instead", "it", "many", "meanwhile", "moreover", "most", "nevertheless",
    "nonetheless", "nor", "sales", "separately", "similarly", "since", "so", "some", "the", "there",
    "these", "they", "this", "though", "thus", "under", "when", "while", "yet",
};

static const char *const after_numbers[] = {
    "abreast", "aes", "business", "cbot", "colgate", "commodities", "cooper", "corrections",
    "credit", "dividend", "financing", "genentech", "henley", "insider", "international", "leisure",
    "letters", "notable", "pay-fone", "pegasus", "pepper", "review", "rj", "wedgestone", "who",
    "zimmer",
};

static const char *const plain_words[] = {
    "able", "above", "accepts", "acid", "ad", "adding", "address", "adjacent", "adult", "advice",
    "allowed", "alphabet", "already", "alternative", "altogether", "always", "amount", "analysis",
    "anemia", "angle", "angry", "animal", "animals", "answers", "anything", "appear", "application",
    "appropriate", "arrange", "array", "article", "ask", "asked", "assume", "ate", "audience",
    "available", "babies", "bag", "bags", "balanced", "balloons", "balls", "bars", "basic",
    "basket", "beans", "beat", "beats", "become", "behavior", "being", "better", "between", "bias",
    "birds", "bit", "bits", "blocks", "blood", "body", "bottle", "bottles", "box", "boxes", "boy",
    "boys", "bracket", "brackets", "brand", "bread", "brother", "build", "bus", "butter",
    "calculate", "call", "came", "cannot", "capitalize", "capitalized", "caps", "car", "carrots",
    "caught", "cell", "cells", "cents", "certificate", "chairs", "character", "characters", "chart",
    "check", "cheese", "choose", "classes", "closest", "clothing", "cluster", "coins", "cold",
    "collected", "collections", "colors", "column", "columns", "combinations", "combined",
    "comfortable", "compare", "compensation", "complete", "completely", "concentration",
    "conditions", "conflict", "connection", "consecutive", "consider", "considered", "consist",
    "contain", "containing", "contains", "content", "continuously", "conversation", "convert",
    "cookies", "copy", "correct", "correlation", "corresponding", "cost", "counts", "couple",
    "cows", "cream", "create", "critique", "currently", "customer", "date", "decides", "decrease",
    "deep", "deficiency", "defined", "degree", "degrees", "delivery", "derivative", "description",
    "designed", "details", "determine", "dialogue", "diaper", "dictionary", "difference",
    "differences", "different", "directed", "direction", "distance", "distinct", "divided",
    "document", "does", "dogs", "doing", "dollars", "done", "dot", "double", "dozen", "drink",
    "drinks", "duplicate", "early", "earn", "eaten", "eating", "eight", "elaborate", "element",
    "elements", "else", "employee", "empty", "engaging", "engineer", "enough", "entangled",
    "entire", "entirely", "entries", "entry", "environment", "equal", "equals", "equation",
    "equivalent", "essay", "etc", "evaluate", "evaluating", "event", "ever", "exact", "exactly",
    "examination", "example", "except", "exist", "exists", "expand", "expenses", "experience",
    "explain", "explaining", "explicitly", "expression", "extra", "extract", "factor", "factory",
    "fake", "favorite", "feature", "features", "feet", "fence", "fewer", "file", "files", "fill",
    "filled", "final", "finish", "fish", "fix", "fixed", "float", "floating", "floor", "flowers",
    "fly", "follow", "followed", "following", "follows", "foot", "forget", "formal", "format",
    "formed", "forward", "fraction", "frequency", "friend", "fruits", "funny", "gallon", "gave",
    "generate", "generated", "gift", "girls", "given", "gives", "giving", "goes", "going",
    "greater", "greatest", "grid", "guess", "guests", "guy", "hair", "height", "helps", "her",
    "here", "highest", "highlight", "him", "hour", "hours", "identical", "implement", "import",
    "importance", "important", "improve", "inches", "include", "including", "increased",
    "indicated", "individual", "initial", "injury", "inner", "input", "inside", "installation",
    "interesting", "into", "item", "items", "joke", "jumps", "kid", "kids", "known", "language",
    "larger", "lasts", "leading", "learn", "least", "length", "letters", "limerick", "linear",
    "list", "listed", "lists", "liters", "lives", "living", "location", "longest", "looking", "lot",
    "lunch", "lyrics", "manner", "marked", "marriage", "match", "math", "mathematical", "maximum",
    "meals", "mean", "meaning", "measurement", "mechanics", "median", "medium", "mention", "merge",
    "message", "meters", "method", "miles", "milk", "minimum", "minute", "missing", "mom",
    "monthly", "months", "morning", "mother", "multiple", "multiplied", "multiply", "nature",
    "need", "needed", "needs", "negative", "neutral", "newspaper", "nodes", "non", "notation",
    "notations", "note", "number", "numbers", "occur", "occurrence", "occurring", "occurs", "odd",
    "older", "ones", "opening", "operator", "opposite", "ordered", "original", "otherwise",
    "ounces", "outer", "owner", "pack", "packs", "page", "pages", "paid", "paint", "pair", "pants",
    "paragraphs", "parallel", "particle", "particles", "particular", "path", "pays", "per",
    "percent", "percentage", "perfect", "perform", "performance", "performing", "person", "phase",
    "phone", "photos", "phrase", "phrases", "pick", "picked", "pieces", "pitch", "places", "play",
    "played", "player", "playing", "please", "plot", "points", "poisoning", "polite", "pool",
    "position", "positive", "potential", "pound", "pounds", "powers", "practice", "present",
    "previous", "problem", "problems", "process", "product", "professionals", "program",
    "progression", "proportional", "provide", "pulmonary", "put", "quarters", "question",
    "questions", "quotation", "quotes", "range", "ranges", "ratio", "reads", "receive", "received",
    "refrain", "regular", "regulations", "relationship", "remainder", "remaining", "remove",
    "removed", "rent", "repeated", "repeating", "replace", "replaced", "reply", "represent",
    "representation", "represented", "representing", "represents", "required", "respectively",
    "respond", "response", "responses", "restaurant", "result", "resulting", "results", "returned",
    "reverse", "right", "rooms", "roots", "roses", "round", "rows", "rubric", "runs", "same",
    "saved", "saw", "score", "scored", "script", "season", "seconds", "section", "sections",
    "seeds", "segment", "selling", "send", "sentence", "separate", "separated", "served", "serving",
    "shift", "shirt", "shirts", "shoes", "significant", "similar", "simple", "single", "sister",
    "size", "skin", "slices", "slogan", "smaller", "smallest", "so", "soda", "solar", "solution",
    "solve", "someone", "songs", "sort", "sorting", "spaces", "species", "specific", "specified",
    "speed", "spend", "spent", "spin", "squares", "stage", "started", "starting", "statement",
    "step", "still", "strange", "strength", "stress", "string", "structure", "style", "successful",
    "such", "sum", "sums", "supplied", "surface", "surgery", "swaps", "symbols", "syndrome",
    "tables", "taking", "tall", "tank", "targeted", "task", "teacher", "team", "temperature", "ten",
    "term", "text", "thanks", "them", "therefore", "things", "think", "thought", "threshold",
    "through", "throughout", "throw", "ticket", "tip", "title", "together", "tomatoes", "tone",
    "took", "towards", "train", "treatment", "trees", "trend", "triple", "trips", "true", "trying",
    "tuberculosis", "type", "underscore", "understand", "unique", "upward", "uses", "using",
    "vacation", "valid", "values", "variable", "various", "vegetables", "version", "versions",
    "very", "vessels", "wage", "walk", "walks", "wants", "watching", "wave", "waves", "weather",
    "weekend", "weeks", "weigh", "weight", "went", "were", "whatsoever", "whether", "which",
    "whole", "wide", "within", "without", "words", "worked", "working", "wrapped", "writing",
    "written", "yes", "your", "zero",
};

static const char *const title_words[] = {
    "about", "absolute", "access", "according", "account", "across", "action", "activity", "add",
    "added", "additional", "after", "age", "air", "all", "also", "am", "an", "and", "another",
    "answer", "any", "appeal", "appears", "are", "area", "areas", "around", "as", "assets", "at",
    "average", "avoid", "away", "back", "bad", "balance", "bank", "base", "based", "be", "beach",
    "bears", "beauty", "because", "been", "before", "beginning", "below", "benefits", "best", "big",
    "bill", "bills", "birthday", "black", "block", "blue", "board", "book", "books", "both",
    "bottom", "bought", "brief", "building", "business", "but", "buy", "buying", "buys", "by",
    "called", "can", "cancer", "candy", "capacity", "capital", "cards", "cars", "case", "cases",
    "cat", "catch", "cats", "certain", "chain", "change", "chicken", "child", "children", "chips",
    "chocolate", "city", "civil", "class", "code", "coffee", "collection", "college", "color",
    "comes", "common", "company", "complex", "computer", "construction", "continue", "contract",
    "corn", "costs", "could", "count", "countries", "country", "cover", "culture", "cup", "current",
    "customers", "cut", "data", "day", "days", "dead", "decided", "demand", "department", "design",
    "development", "device", "did", "died", "digital", "discount", "disease", "division", "do",
    "dog", "down", "drive", "drives", "driving", "drug", "during", "each", "earned", "earnings",
    "easy", "eat", "economic", "economy", "education", "effect", "end", "ending", "energy",
    "enterprise", "error", "estate", "even", "every", "everything", "exchange", "extension",
    "factors", "facts", "fair", "false", "family", "far", "farm", "farmer", "fast", "father",
    "feed", "fever", "few", "field", "fifth", "find", "fire", "first", "five", "flow", "focus",
    "food", "for", "form", "found", "four", "fourth", "free", "fresh", "friends", "from", "fruit",
    "full", "function", "future", "game", "games", "garden", "gas", "general", "get", "gets",
    "give", "go", "goal", "gold", "good", "goods", "got", "grades", "green", "group", "groups",
    "grow", "growth", "had", "half", "hard", "has", "have", "having", "he", "help", "high",
    "higher", "his", "history", "home", "house", "how", "ice", "if", "in", "includes", "income",
    "increase", "increases", "increasing", "index", "indicate", "industry", "inflation",
    "insurance", "interest", "is", "issue", "it", "its", "itself", "job", "join", "just", "keep",
    "key", "kind", "know", "labor", "land", "large", "largest", "last", "later", "latest", "law",
    "lead", "leaves", "left", "legal", "lengths", "less", "letter", "level", "life", "light",
    "like", "limit", "line", "lines", "link", "little", "live", "local", "long", "longer", "loss",
    "lost", "love", "low", "lower", "machine", "made", "main", "make", "makes", "making", "man",
    "many", "market", "marketing", "marks", "material", "may", "maybe", "me", "means", "media",
    "meet", "meeting", "members", "men", "middle", "might", "mile", "military", "million",
    "minutes", "mixed", "model", "money", "month", "more", "most", "move", "movie", "movies",
    "moving", "much", "must", "my", "name", "named", "names", "national", "natural", "never", "new",
    "news", "next", "night", "no", "none", "not", "now", "obstruction", "of", "off", "offering",
    "old", "on", "once", "one", "only", "open", "operation", "operations", "options", "or", "order",
    "other", "others", "our", "out", "outline", "output", "outside", "over", "own", "paper", "park",
    "part", "parties", "parts", "party", "past", "pay", "payment", "people", "perspective", "pet",
    "pizza", "place", "placed", "plan", "planning", "plant", "plants", "plus", "point", "police",
    "pollution", "positions", "possible", "post", "power", "president", "pressure", "price",
    "pricing", "prime", "print", "produce", "production", "products", "professional", "profit",
    "project", "properties", "proposal", "public", "pump", "purchase", "quality", "quarter", "race",
    "raise", "raised", "random", "rate", "re", "reach", "read", "reading", "real", "really",
    "receives", "record", "records", "red", "reduce", "request", "research", "responsibility",
    "rest", "resume", "return", "returns", "review", "rich", "ride", "rights", "ring", "risk",
    "road", "rock", "room", "row", "run", "running", "said", "salary", "sale", "sales", "sampling",
    "save", "say", "saying", "school", "science", "search", "second", "security", "see", "seen",
    "sell", "sells", "series", "service", "set", "sets", "several", "share", "she", "ship", "shop",
    "shopping", "short", "should", "show", "side", "sides", "sign", "since", "site", "six", "sleep",
    "small", "smart", "snake", "social", "software", "sold", "some", "song", "sound", "space",
    "special", "split", "square", "standard", "start", "starts", "state", "states", "station",
    "stay", "steps", "stock", "store", "story", "strategy", "student", "students", "subject",
    "summary", "sun", "supplies", "supply", "sure", "surplus", "system", "table", "take", "takes",
    "tax", "technology", "tell", "tennis", "test", "than", "that", "the", "their", "then", "there",
    "these", "they", "third", "this", "those", "three", "tickets", "time", "times", "to", "today",
    "top", "topic", "total", "town", "toys", "transport", "transportation", "travel", "tree",
    "trip", "twice", "two", "types", "under", "unit", "united", "units", "until", "up", "upper",
    "use", "used", "value", "video", "view", "visit", "volume", "want", "war", "was", "water",
    "way", "ways", "we", "week", "weighs", "well", "wells", "what", "when", "where", "while",
    "white", "who", "whose", "why", "will", "wind", "with", "won", "word", "work", "works", "world",
    "worth", "would", "write", "year", "years", "you", "young",
};
// clang-format on

static int compare(const void *key, const void *item)
{
    return strcmp(key, *(const char *const *)item);
}

#define HAS(list, word) \
    (bsearch(word, list, sizeof list / sizeof list[0], sizeof list[0], compare) != NULL)

bool sentence_word_is(const char *word, enum sentence_word kind)
{
    switch (kind) {
    case SENTENCE_ABBREVIATION:
        return HAS(abbreviations, word);
    case SENTENCE_STARTER:
        return HAS(starters, word);
    case SENTENCE_AFTER_NUMBER:
        return HAS(after_numbers, word);
    case SENTENCE_PLAIN:
        return HAS(plain_words, word);
    case SENTENCE_TITLE:
        return HAS(title_words, word);
    }
    return false;
}

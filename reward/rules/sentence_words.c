/* Words that decide where an English sentence ends. The abbreviations, the words that often begin a sentence and the words
 * that follow a number without one are facts about the splitter which the published verdicts were made with (Punkt,
 * Kiss and Strunk, Computational Linguistics 32(4), 2006). The common words are the most frequent ones of
 * GSM8K, IFEval, HumanEval and MBPP and some adverbs: those that splitter has met in lower case only, and those it also met capitalised
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
    "abilities", "able", "above", "academic", "accept", "acceptable", "accepts", "acid", "active", "acute", "ad",
    "adding", "addition", "address", "adds", "adjacent", "administrative", "administrator", "adult", "adults",
    "advice", "afterwards", "agricultural", "ahead", "aims", "allowed", "almost", "along", "alphabet", "already",
    "alternating", "alternative", "alternatives", "altogether", "always", "amount", "analysis", "anemia", "angle",
    "angry", "animal", "animals", "annual", "anonymous", "answers", "anything", "anyway", "appealing", "appear",
    "application", "applications", "apply", "approach", "appropriate", "arrange", "array", "article", "artificial",
    "artistic", "ask", "asked", "asking", "assert", "assign", "assume", "assumed", "ate", "attention", "audience",
    "available", "awarded", "babies", "bag", "bags", "balanced", "balloons", "balls", "band", "bars", "basic",
    "basis", "basket", "beans", "beat", "beats", "become", "bed", "behavior", "behind", "being", "better", "between",
    "beyond", "bias", "bigger", "biography", "birds", "bit", "bits", "blocks", "blood", "body", "bone", "bottle",
    "bottles", "box", "boxes", "boy", "boys", "bracket", "brackets", "branch", "brand", "bread", "break", "breaks",
    "brother", "build", "bunch", "bus", "butter", "buyer", "calculate", "call", "came", "cannot", "capitalize",
    "capitalized", "caps", "capsule", "car", "carrots", "caught", "cause", "cell", "cells", "cents", "certainly",
    "certificate", "chairs", "character", "characters", "chart", "check", "cheese", "choice", "choose", "chronic",
    "classes", "classical", "client", "climate", "closest", "closing", "clothes", "clothing", "cluster", "codes",
    "coins", "cold", "collected", "collections", "colored", "colorful", "colors", "column", "columns", "combinations",
    "combine", "combined", "comfortable", "comments", "compare", "compensation", "complete", "completely", "compound",
    "concentration", "concise", "concrete", "condition", "conditions", "conduct", "conflict", "connection",
    "consecutive", "consider", "considered", "consist", "consisting", "consists", "constraints", "consumption",
    "contact", "contain", "containing", "contains", "content", "context", "continuous", "continuously", "contractor",
    "conversation", "convert", "convince", "cookies", "coordinate", "copy", "correct", "correctly", "correlation",
    "corresponding", "cost", "counts", "couple", "course", "covered", "cows", "cream", "create", "creators",
    "criticize", "critique", "critiques", "currently", "customer", "cutting", "cycle", "damn", "date", "daughter",
    "decides", "decrease", "decreased", "deep", "defects", "deficiency", "defined", "degree", "degrees", "delivery",
    "demonstrate", "dependence", "deposits", "depth", "derivative", "descending", "describe", "described",
    "describes", "describing", "description", "designed", "desktop", "detailed", "details", "determine", "develop",
    "developing", "dialogue", "diaper", "dictionary", "die", "difference", "differences", "different", "directed",
    "direction", "directly", "disability", "display", "distance", "distinct", "distributed", "divided", "dividing",
    "document", "does", "dogs", "doing", "dollars", "dolls", "done", "dose", "dot", "double", "dozen", "draft",
    "dress", "dressed", "drink", "drinks", "ducks", "duplicate", "early", "earn", "eaten", "eating", "effects",
    "efficiently", "eight", "elaborate", "element", "elementary", "elements", "else", "emergency", "employee",
    "empty", "engaging", "engineer", "engineers", "enough", "entangled", "entire", "entirely", "entries", "entry",
    "environment", "environments", "episode", "equal", "equally", "equals", "equation", "equivalent", "essay",
    "estimated", "etc", "evaluate", "evaluating", "evaluation", "evenly", "event", "eventually", "ever", "exact",
    "exactly", "examination", "example", "examples", "except", "exciting", "excluded", "exercise", "exist",
    "existing", "exists", "expand", "expansion", "expenditure", "expenses", "expensive", "experience", "experimental",
    "explain", "explaining", "explains", "explanation", "explanations", "explicitly", "expression", "extra",
    "extract", "eye", "factor", "factory", "fake", "fashion", "faster", "fat", "favorite", "feature", "features",
    "feet", "fence", "fetch", "fewer", "figure", "file", "files", "fill", "filled", "final", "finally", "finish",
    "fish", "fix", "fixed", "float", "floating", "flooding", "floor", "flower", "flowers", "fly", "follow",
    "followed", "following", "follows", "foot", "forget", "formal", "format", "formation", "formed", "forward",
    "fought", "fraction", "freeze", "frequency", "friend", "friendly", "fruits", "funny", "furthermore", "gallon",
    "gave", "generate", "generated", "gift", "girl", "girls", "given", "gives", "giving", "glasses", "goes", "going",
    "greater", "greatest", "grid", "grocery", "ground", "guess", "guests", "guy", "hair", "handle", "happy", "hats",
    "healthy", "height", "helps", "hence", "hepatitis", "her", "here", "highest", "highlight", "him", "historical",
    "hold", "holds", "honestly", "hoping", "hour", "hours", "hull", "idea", "identical", "ignore", "imagine",
    "implement", "implemented", "import", "importance", "important", "improve", "inches", "include", "including",
    "increased", "indeed", "independently", "indicated", "individual", "individuals", "influenced", "initial",
    "initially", "injury", "inner", "input", "inside", "inspection", "installation", "instead", "instructions",
    "interested", "interesting", "into", "invalid", "involves", "item", "items", "joined", "joke", "jokes", "journey",
    "jumps", "kid", "kids", "kitchen", "known", "language", "larger", "lasts", "laying", "leading", "leakage",
    "learn", "least", "length", "lets", "letters", "liability", "lies", "likes", "limerick", "linear", "list",
    "listed", "lists", "liters", "litigation", "lives", "living", "locate", "location", "logical", "logistics",
    "longest", "looking", "lot", "lunch", "lung", "luxury", "lymph", "lyrics", "majority", "manager", "manner",
    "marked", "marriage", "match", "math", "mathematical", "mathematics", "maturity", "maximum", "meal", "meals",
    "mean", "meaning", "measured", "measurement", "mechanics", "median", "medium", "mental", "mention", "merge",
    "message", "meters", "method", "miles", "milk", "mine", "minimize", "minimum", "minute", "missing", "moderate",
    "modified", "mom", "moment", "monthly", "months", "moon", "morning", "mother", "moved", "multiple", "multiplied",
    "multiply", "muscle", "nature", "nearest", "neck", "need", "needed", "needs", "negative", "neutral", "neutrons",
    "newspaper", "nickname", "nodes", "non", "notation", "notations", "note", "noted", "nothing", "number", "numbers",
    "nutrition", "object", "objectives", "observed", "obtain", "occur", "occurrence", "occurring", "occurs", "odd",
    "offset", "okay", "older", "ones", "opening", "operate", "operational", "operator", "opportunity", "opposite",
    "optional", "ordered", "original", "originally", "otherwise", "ounce", "ounces", "ours", "outer", "overall",
    "owner", "ownership", "owns", "pack", "packs", "page", "pages", "paid", "pain", "paint", "pair", "pants",
    "paragraphs", "parallel", "parenting", "parking", "participants", "particle", "particles", "particular",
    "password", "path", "patients", "payable", "pays", "peak", "per", "percent", "percentage", "perfect", "perfectly",
    "perform", "performance", "performed", "performing", "periodic", "permanent", "person", "personal", "persuasive",
    "phase", "phenomenon", "phone", "photos", "phrase", "phrases", "physical", "pick", "picked", "piece", "pieces",
    "pills", "pink", "pipe", "pitch", "places", "planet", "planted", "play", "played", "player", "playing", "please",
    "plot", "poems", "points", "poisoning", "polite", "pool", "port", "position", "positive", "potatoes", "potential",
    "pound", "pounds", "powers", "practice", "precision", "preparation", "prepare", "present", "previous",
    "principle", "private", "problem", "problems", "process", "processes", "produces", "product", "professionals",
    "program", "programming", "progression", "prompt", "proof", "properly", "proportion", "proportional", "protein",
    "provide", "provided", "provides", "proximity", "pulmonary", "put", "quantity", "quarters", "question",
    "questions", "quotation", "quotes", "ran", "range", "ranges", "rating", "ratio", "raw", "reads", "reality",
    "receive", "received", "recent", "recently", "recommend", "recommendation", "recommendations", "reduced",
    "reflect", "refrain", "regional", "registration", "regular", "regulations", "relationship", "relationships",
    "relative", "relieve", "remain", "remainder", "remaining", "remember", "remove", "removed", "removing", "rent",
    "repeated", "repeating", "replace", "replaced", "reply", "represent", "representation", "represented",
    "representing", "represents", "required", "requirements", "rescue", "resolution", "respectively", "respond",
    "response", "responses", "restaurant", "restrictions", "result", "resulted", "resulting", "results", "retained",
    "returned", "reverse", "right", "rings", "rooms", "roots", "roses", "round", "rows", "rubric", "runs", "same",
    "sandwich", "satisfied", "saved", "saving", "saw", "score", "scored", "script", "season", "secondary", "seconds",
    "section", "sections", "seeds", "segment", "select", "selection", "selling", "send", "sentence", "separate",
    "separated", "separately", "served", "serving", "seven", "severe", "shaped", "shared", "shell", "shift",
    "shifting", "shirt", "shirts", "shoes", "signed", "significant", "similar", "similarly", "simple", "single",
    "sister", "size", "skills", "skin", "skyscraper", "slices", "slogan", "slow", "slower", "slowly", "smaller",
    "smallest", "so", "soda", "soil", "solar", "solution", "solve", "someone", "sometimes", "songs", "soon", "sort",
    "sorting", "source", "spaces", "species", "specific", "specifically", "specified", "speed", "spend", "spending",
    "spent", "sphere", "spin", "spots", "squares", "stage", "started", "starting", "statement", "step", "still",
    "strange", "strength", "stress", "string", "strongest", "strongly", "structure", "structured", "studied", "style",
    "subordinate", "successful", "such", "suddenly", "suggest", "sum", "sums", "sung", "supervision", "supplied",
    "surface", "surgery", "surprisingly", "sustainable", "swaps", "swift", "symbols", "symptoms", "syndrome",
    "tables", "taking", "talented", "tall", "tank", "targeted", "targeting", "task", "teacher", "teaching", "team",
    "temperature", "ten", "term", "terms", "territory", "testing", "text", "thanks", "them", "themselves", "theory",
    "therapy", "therefore", "things", "think", "thinking", "thought", "thoughts", "threatened", "threshold",
    "through", "throughout", "throw", "thus", "ticket", "tip", "title", "together", "tomatoes", "tomorrow", "tone",
    "tonic", "took", "towards", "train", "transfer", "translation", "traveled", "treatment", "trees", "trend",
    "triple", "trips", "true", "try", "trying", "tuberculosis", "type", "underscore", "understand", "unfortunately",
    "unique", "unity", "unless", "upon", "upward", "us", "user", "uses", "using", "vacation", "vacuum", "valid",
    "values", "variable", "variety", "various", "vegetables", "version", "versions", "very", "vessels", "via",
    "villain", "voluntary", "vulnerable", "wage", "wait", "walk", "walked", "walks", "walls", "wants", "warm",
    "waste", "watching", "wave", "waves", "weather", "web", "weekend", "weeks", "weigh", "weight", "weighted", "went",
    "were", "wet", "whatsoever", "wheels", "whether", "which", "whole", "wide", "wise", "within", "without", "words",
    "worked", "working", "wrapped", "writing", "written", "yes", "yesterday", "your", "zany", "zero", "zone",
};

static const char *const title_words[] = {
    "about", "absolute", "access", "according", "account", "accounts", "across", "action", "activity", "actor",
    "actual", "actually", "add", "added", "additional", "affect", "after", "again", "against", "age", "agency", "ago",
    "agreement", "air", "all", "also", "am", "among", "an", "and", "another", "answer", "antibody", "any", "appeal",
    "appears", "are", "area", "areas", "around", "arrested", "art", "as", "assessment", "asset", "assets",
    "association", "at", "average", "avoid", "award", "away", "baby", "back", "bad", "balance", "ball", "bank",
    "base", "based", "basically", "basketball", "bay", "be", "beach", "bear", "bears", "beauty", "because", "been",
    "before", "beginning", "bell", "below", "benefits", "best", "bid", "big", "bill", "bills", "birthday", "black",
    "block", "blue", "board", "bob", "book", "books", "born", "boss", "both", "bottom", "bought", "brief", "brothers",
    "brought", "brown", "budget", "building", "business", "but", "buy", "buying", "buys", "by", "called", "can",
    "cancer", "candy", "cap", "capacity", "capital", "card", "cards", "cars", "case", "cases", "cash", "cat", "catch",
    "cats", "center", "central", "century", "certain", "chain", "change", "changed", "changes", "charges", "checks",
    "chemical", "chicken", "child", "children", "china", "chips", "chocolate", "city", "civil", "class", "clear",
    "clearly", "close", "closed", "code", "coffee", "collection", "college", "color", "come", "comes", "commercial",
    "commission", "common", "companies", "company", "competition", "complex", "computer", "congress", "construction",
    "consumer", "continue", "contract", "contraction", "control", "convention", "corn", "corporate", "costs", "could",
    "council", "count", "countries", "country", "court", "cover", "credit", "cross", "culture", "cup", "current",
    "customers", "cut", "daily", "damage", "data", "day", "days", "de", "dead", "debt", "decided", "demand",
    "democracy", "department", "deposit", "desert", "design", "development", "device", "devices", "did", "died",
    "digital", "dinner", "directors", "discount", "disease", "dividends", "division", "do", "dog", "dollar", "don",
    "down", "drive", "drives", "driving", "drop", "drug", "dry", "due", "during", "dust", "each", "earned",
    "earnings", "earth", "easy", "eat", "economic", "economy", "education", "effect", "efforts", "en", "end",
    "ending", "energy", "enterprise", "environmental", "equity", "error", "estate", "even", "every", "everyone",
    "everything", "exchange", "express", "extension", "factors", "facts", "failure", "fair", "fairy", "false",
    "family", "far", "farm", "farmer", "fast", "father", "feed", "fever", "few", "field", "fifth", "fighting",
    "filing", "financial", "financing", "find", "fire", "first", "five", "flow", "focus", "food", "football", "for",
    "form", "forms", "forum", "found", "four", "fourth", "free", "fresh", "friends", "from", "fruit", "full",
    "function", "future", "game", "games", "gap", "garden", "gas", "general", "generally", "get", "gets", "getting",
    "give", "glass", "go", "goal", "gold", "golden", "good", "goods", "got", "government", "grades", "great", "green",
    "group", "groups", "grow", "growth", "guaranteed", "had", "half", "hand", "hard", "hardware", "has", "have",
    "having", "he", "head", "health", "heard", "heart", "heat", "help", "hey", "high", "higher", "his", "history",
    "home", "house", "how", "however", "human", "ice", "ideas", "identify", "if", "impact", "in", "includes",
    "income", "increase", "increases", "increasing", "index", "indicate", "industry", "inflation", "information",
    "insurance", "intelligence", "interest", "internal", "international", "introduction", "investment", "investors",
    "involving", "iron", "is", "issue", "it", "its", "itself", "job", "jobs", "join", "joint", "just", "keep", "key",
    "kind", "king", "know", "knows", "la", "labor", "land", "landscape", "large", "largest", "last", "later",
    "latest", "law", "laws", "lead", "league", "learning", "leave", "leaves", "leaving", "left", "legal", "lengths",
    "less", "let", "letter", "level", "levels", "life", "light", "like", "likely", "limit", "limited", "line",
    "lines", "link", "little", "live", "local", "long", "longer", "look", "loss", "losses", "lost", "love", "low",
    "lower", "lowest", "machine", "made", "magic", "main", "major", "make", "makes", "making", "man", "management",
    "manufacturing", "many", "march", "mark", "market", "marketing", "marks", "material", "materials", "may", "maybe",
    "me", "means", "media", "meet", "meeting", "members", "memory", "men", "met", "middle", "might", "mile",
    "military", "million", "minutes", "mixed", "model", "money", "month", "more", "most", "motor", "move", "movie",
    "movies", "moving", "much", "musical", "must", "mutual", "my", "name", "named", "names", "national", "natural",
    "net", "network", "never", "new", "news", "next", "night", "nine", "no", "nobody", "none", "normal", "north",
    "not", "notes", "now", "nuclear", "obstruction", "obviously", "of", "off", "offer", "offering", "often", "oil",
    "old", "on", "once", "one", "only", "open", "operation", "operations", "options", "or", "order", "other",
    "others", "our", "out", "outline", "output", "outside", "over", "own", "palace", "paper", "parents", "park",
    "part", "parties", "parts", "party", "past", "pattern", "pay", "payment", "peace", "people", "perhaps", "period",
    "perspective", "pet", "physics", "pizza", "place", "placed", "plan", "planning", "plans", "plant", "plants",
    "players", "plus", "pocket", "point", "police", "policy", "pollution", "popular", "population", "positions",
    "possible", "post", "posts", "power", "president", "pressure", "prevention", "price", "pricing", "primary",
    "prime", "print", "prize", "produce", "production", "products", "professional", "profit", "progress", "project",
    "properties", "property", "proposal", "protection", "public", "pump", "purchase", "quality", "quarter", "quickly",
    "quite", "rabbit", "race", "radio", "raise", "raised", "random", "rate", "rates", "rather", "re", "reach", "read",
    "reading", "real", "really", "receives", "record", "records", "red", "reduce", "reform", "regulatory", "related",
    "representative", "republic", "request", "research", "resistance", "resource", "responsibility", "rest", "resume",
    "return", "returns", "review", "revised", "revolution", "rich", "ride", "rights", "ring", "risk", "road", "rock",
    "role", "room", "rose", "row", "rules", "run", "running", "rust", "safety", "said", "salary", "sale", "sales",
    "sampling", "save", "savings", "say", "saying", "school", "science", "scientific", "scores", "screen", "search",
    "second", "sector", "security", "see", "seeking", "seen", "sell", "sells", "series", "serious", "service",
    "services", "set", "sets", "several", "share", "she", "ship", "shop", "shopping", "short", "should", "show",
    "side", "sides", "sign", "signs", "since", "singing", "site", "six", "sixth", "sleep", "small", "smart", "snake",
    "social", "society", "software", "sold", "some", "something", "song", "sound", "space", "special", "split",
    "spot", "square", "standard", "standards", "star", "start", "starts", "state", "states", "station", "stay",
    "steps", "stock", "stop", "store", "storm", "story", "straight", "strategic", "strategy", "strong", "student",
    "students", "study", "subject", "sugar", "summary", "sun", "supplies", "supply", "support", "sure", "surplus",
    "swap", "system", "table", "take", "taken", "takes", "tax", "taxes", "teachers", "tech", "technical",
    "technology", "tell", "tennis", "test", "than", "that", "the", "their", "then", "there", "these", "they", "third",
    "this", "those", "three", "tickets", "time", "times", "to", "today", "told", "too", "top", "topic", "total",
    "toward", "town", "toy", "toys", "trade", "training", "transport", "transportation", "travel", "tree", "trial",
    "trip", "twice", "two", "types", "uncle", "under", "union", "unit", "united", "units", "university", "until",
    "up", "upper", "use", "used", "usually", "value", "van", "video", "view", "visit", "volume", "wall", "want",
    "war", "was", "watch", "water", "way", "ways", "we", "week", "weighs", "well", "wells", "western", "what", "when",
    "where", "while", "white", "who", "whose", "why", "will", "wind", "winter", "with", "withdrawal", "woman",
    "women", "won", "word", "work", "works", "world", "worth", "would", "write", "year", "years", "you", "young",
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

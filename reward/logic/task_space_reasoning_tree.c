/* Space reasoning in a tree: facts about children, parents, siblings and grandchildren determine a tree; who are
 * the relatives of one node? The generator draws facts in random order until a solver that knows only them has found
 * every parent. The judge compares sets of names. */
#include <string.h>

#include "reward/logic/draw.h"
#include "reward/logic/logic.h"
#include "reward/logic/reading.h"
#include "reward/logic/word_list.h"
#include "reward/logic/words.h"

enum { NODES_MAX = 60, FACTS_MAX = 4 * NODES_MAX };

static const struct logic_knob knobs[] = {
    {"min_nodes", 5, 60, 12, "least number of nodes"},
    {"max_nodes", 5, 60, 20, "most"},
    {"indirect", 0, 1000, 400, "share of facts that name no parent directly, permille"},
    {0},
};

struct tree {
    int nodes, parent[NODES_MAX]; /* -1: the root, which is node 0 */
    int name[NODES_MAX];          /* index into words_things */
};

enum kind { CHILDREN, PARENT, SIBLINGS, GRANDPARENT, KINDS };
struct fact {
    enum kind kind;
    int a, b; /* CHILDREN: of a. PARENT: a of b. SIBLINGS: a and b. GRANDPARENT: a of b */
};

/* What a reader knows: whose parent is who, and which nodes share theirs. */
struct knowledge {
    int parent[NODES_MAX]; /* -2: not known */
    int family[NODES_MAX]; /* equal: same parent */
};

static void draw_tree(int nodes, struct rng *rng, struct tree *tree)
{
    tree->nodes = nodes;
    draw_sample(rng, tree->name, nodes, (int)words_things_count);
    tree->parent[0] = -1;
    for (int i = 1; i < nodes; i++) {
        int from = i > 6 ? (i - 6) / 2 : 0; /* keeps it a few levels deep */
        tree->parent[i] = draw_between(rng, from, i - 1 < from + 4 ? i - 1 : from + 4);
    }
}

static int grandparent(const struct tree *tree, int node)
{
    return tree->parent[node] < 0 ? -1 : tree->parent[tree->parent[node]];
}

static struct fact draw_fact(const struct tree *tree, int indirect, struct rng *rng)
{
    int node = draw_between(rng, 1, tree->nodes - 1), parent = tree->parent[node];
    struct fact fact = {PARENT, parent, node};
    if (!draw_permille(rng, indirect)) {
        if (draw_permille(rng, 500))
            fact = (struct fact){CHILDREN, parent, 0};
        return fact;
    }
    if (grandparent(tree, node) >= 0 && draw_permille(rng, 400))
        return (struct fact){GRANDPARENT, grandparent(tree, node), node};
    int siblings[NODES_MAX], count = 0;
    for (int i = 1; i < tree->nodes; i++)
        if (i != node && tree->parent[i] == parent)
            siblings[count++] = i;
    if (count > 0)
        fact = (struct fact){SIBLINGS, node, siblings[rng_below(rng, (uint32_t)count)]};
    return fact;
}

/* ---- what follows from the facts ---- */

static void join(struct knowledge *knowledge, int nodes, int a, int b)
{
    int from = knowledge->family[a], to = knowledge->family[b];
    for (int i = 0; i < nodes; i++)
        if (knowledge->family[i] == from)
            knowledge->family[i] = to;
}

static bool learn_parent(struct knowledge *knowledge, int nodes, int child, int parent)
{
    bool news = false;
    for (int i = 0; i < nodes; i++)
        if (knowledge->family[i] == knowledge->family[child] && knowledge->parent[i] == -2) {
            knowledge->parent[i] = parent;
            news = true;
        }
    return news;
}

/* A grandparent with one known child only, all of whose children are told, is enough to name the parent. */
static bool learn_from_grandparent(struct knowledge *knowledge, const struct tree *tree,
                                   const struct fact *facts, int count, const struct fact *fact)
{
    int only = -1, children = 0;
    for (int i = 0; i < count; i++)
        if (facts[i].kind == CHILDREN && facts[i].a == fact->a) {
            children = 0;
            for (int node = 1; node < tree->nodes; node++)
                if (tree->parent[node] == fact->a) {
                    only = node;
                    children++;
                }
        }
    return children == 1 && learn_parent(knowledge, tree->nodes, fact->b, only);
}

/* Uses the tree only for the children that a CHILDREN fact lists. True when every parent is known. */
static bool understand(const struct tree *tree, const struct fact *facts, int count,
                       struct knowledge *knowledge)
{
    for (int i = 0; i < tree->nodes; i++) {
        knowledge->parent[i] = i == 0 ? -1 : -2; /* the question names the root */
        knowledge->family[i] = i;
    }
    for (int i = 0; i < count; i++)
        if (facts[i].kind == SIBLINGS)
            join(knowledge, tree->nodes, facts[i].a, facts[i].b);
    for (bool news = true; news;) {
        news = false;
        for (int i = 0; i < count; i++) {
            const struct fact *fact = &facts[i];
            if (fact->kind == PARENT)
                news |= learn_parent(knowledge, tree->nodes, fact->b, fact->a);
            else if (fact->kind == GRANDPARENT)
                news |= learn_from_grandparent(knowledge, tree, facts, count, fact);
            else if (fact->kind == CHILDREN)
                for (int node = 1; node < tree->nodes; node++)
                    if (tree->parent[node] == fact->a)
                        news |= learn_parent(knowledge, tree->nodes, node, fact->a);
        }
    }
    for (int i = 1; i < tree->nodes; i++)
        if (knowledge->parent[i] != tree->parent[i])
            return false;
    return true;
}

static bool has_fact(const struct fact *facts, int count, struct fact fact)
{
    for (int i = 0; i < count; i++)
        if (facts[i].kind == fact.kind &&
            ((facts[i].a == fact.a && facts[i].b == fact.b) ||
             (fact.kind == SIBLINGS && facts[i].a == fact.b && facts[i].b == fact.a)))
            return true;
    return false;
}

/* Leaves out facts of that kind (KINDS: of any) that the others tell already. */
static int without_idle_facts(const struct tree *tree, struct fact *facts, int count,
                              enum kind kind)
{
    struct knowledge knowledge;
    for (int i = count - 1; i >= 0; i--) {
        struct fact left_out = facts[i];
        if (kind != KINDS && left_out.kind != kind)
            continue;
        facts[i] = facts[count - 1];
        if (understand(tree, facts, count - 1, &knowledge))
            count--;
        else
            facts[i] = left_out;
    }
    return count;
}

static int draw_facts(const struct tree *tree, int indirect, struct rng *rng, struct fact *facts)
{
    struct knowledge knowledge;
    int count = 0;
    for (int tries = 0; tries < 40 * NODES_MAX && count < FACTS_MAX; tries++) {
        struct fact fact = draw_fact(tree, tries < 4 * tree->nodes ? indirect : indirect / 2, rng);
        if (has_fact(facts, count, fact))
            continue;
        facts[count++] = fact;
        if (understand(tree, facts, count, &knowledge)) {
            /* first what tells most: then the indirect facts are needed */
            bool children = draw_permille(rng, indirect);
            count = without_idle_facts(tree, facts, count, children ? CHILDREN : PARENT);
            return without_idle_facts(tree, facts, count, KINDS);
        }
    }
    return 0;
}

/* ---- telling and asking ---- */

static const char *name_of(const struct tree *tree, int node)
{
    return words_things[tree->name[node]];
}

static enum status write_fact(const struct tree *tree, const struct fact *fact, struct buffer *out)
{
    const char *a = name_of(tree, fact->a), *b = name_of(tree, fact->b);
    if (fact->kind == PARENT)
        return buffer_printf(out, "- The parent of %s is %s.\n", b, a);
    if (fact->kind == SIBLINGS)
        return buffer_printf(out, "- %s and %s are siblings.\n", a, b);
    if (fact->kind == GRANDPARENT)
        return buffer_printf(out, "- %s is a grandparent of %s.\n", a, b);
    int children = 0, told = 0;
    for (int i = 1; i < tree->nodes; i++)
        children += tree->parent[i] == fact->a;
    TRY(buffer_printf(out, "- %s has %d %s: ", a, children, children == 1 ? "child" : "children"));
    for (int i = 1; i < tree->nodes; i++)
        if (tree->parent[i] == fact->a)
            TRY(buffer_printf(out, "%s%s", name_of(tree, i), ++told == children ? ".\n" : ", "));
    return STATUS_OK;
}

enum relation { SIBLING, COUSIN, UNCLE, GRANDCHILD, ANCESTOR, RELATIONS };
static const char *const relation_words[] = {
    "siblings", "cousins (children of a parent's siblings)",
    "uncles and aunts (a parent's siblings)", "grandchildren",
    "ancestors (parent, grandparent and so on)"};

static bool are_siblings(const struct tree *tree, int a, int b)
{
    return a > 0 && b > 0 && a != b && tree->parent[a] == tree->parent[b];
}

static bool is_relative(const struct tree *tree, enum relation relation, int node, int of)
{
    if (relation == SIBLING)
        return are_siblings(tree, node, of);
    if (relation == COUSIN)
        return tree->parent[node] >= 0 && tree->parent[of] >= 0 &&
               are_siblings(tree, tree->parent[node], tree->parent[of]);
    if (relation == UNCLE)
        return tree->parent[of] >= 0 && are_siblings(tree, node, tree->parent[of]);
    if (relation == GRANDCHILD)
        return grandparent(tree, node) == of;
    for (int at = tree->parent[of]; at >= 0; at = tree->parent[at])
        if (at == node)
            return true;
    return false;
}

/* The relatives' names in alphabetical order, separated by ", "; how many. */
static enum status write_relatives(const struct tree *tree, enum relation relation, int of,
                                   struct buffer *out, int *count)
{
    bool taken[NODES_MAX] = {false};
    for (*count = 0;; (*count)++) {
        int next = -1;
        for (int i = 0; i < tree->nodes; i++)
            if (!taken[i] && is_relative(tree, relation, i, of) &&
                (next < 0 || strcmp(name_of(tree, i), name_of(tree, next)) < 0))
                next = i;
        if (next < 0)
            return STATUS_OK;
        taken[next] = true;
        TRY(buffer_printf(out, "%s%s", *count > 0 ? ", " : "", name_of(tree, next)));
    }
}

static enum status write_question(const struct tree *tree, const struct fact *facts, int count,
                                  enum relation relation, int of, struct buffer *out)
{
    TRY(buffer_printf(out, "A tree has %d nodes, each a thing; its root is %s. What is known:\n\n",
                      tree->nodes, name_of(tree, 0)));
    for (int i = 0; i < count; i++)
        TRY(write_fact(tree, &facts[i], out));
    return buffer_printf(out,
                         "\nWhich are all the %s of %s?\n\nEnd your answer with the names,"
                         " separated by commas in alphabetical order, in a box, like"
                         " \\boxed{apple, kite}.",
                         relation_words[relation], name_of(tree, of));
}

static enum status generate(const struct logic_settings *settings, struct rng *rng,
                            struct logic_problem *out)
{
    struct tree tree;
    struct fact facts[FACTS_MAX];
    int relatives;
    draw_tree(draw_between(rng, settings->value[0], settings->value[1]), rng, &tree);
    int count = draw_facts(&tree, settings->value[2], rng, facts);
    if (count == 0)
        return STATUS_AGAIN;
    enum relation relation = (enum relation)rng_below(rng, RELATIONS);
    int of = (int)rng_below(rng, (uint32_t)tree.nodes);
    struct buffer answer;
    buffer_init(&answer, 0);
    enum status status = write_relatives(&tree, relation, of, &answer, &relatives);
    out->answer = json_string(buffer_string(&answer));
    buffer_free(&answer);
    TRY(status);
    if (relatives == 0)
        return STATUS_AGAIN;
    TRY(write_question(&tree, facts, count, relation, of, &out->question));
    json_t *parents = json_array();
    for (int i = 0; i < tree.nodes; i++)
        json_array_append_new(parents, json_string(i > 0 ? name_of(&tree, tree.parent[i]) : ""));
    out->metadata = json_pack("{s:i, s:i, s:o}", "num_nodes", tree.nodes, "num_facts", count,
                              "parents", parents);
    if (out->answer == NULL || out->metadata == NULL)
        return FAIL(STATUS_NO_MEMORY, "a tree row");
    out->work = tree.nodes; /* an indirect fact takes another look at the others */
    for (int i = 0; i < count; i++)
        out->work += facts[i].kind == SIBLINGS || facts[i].kind == GRANDPARENT ? 2 : 0;
    out->difficulty = logic_difficulty(out->work, 5, 120);
    return STATUS_OK;
}

static void verify(const json_t *metadata, const json_t *answer, const char *question,
                   struct answer_span response, struct logic_verdict *out)
{
    (void)metadata;
    (void)question;
    struct word_list wanted, read;
    const char *text = json_string_value(answer);
    if (text == NULL || !word_list_read((struct answer_span){text, strlen(text)}, false, &wanted) ||
        wanted.count == 0)
        logic_broken(out, "answer is to be names separated by commas");
    else if (!word_list_read(reading_short(response), false, &read) ||
             !word_list_same_set(&read, &wanted))
        logic_wrong(out, "other names were expected");
    else
        out->correct = true;
}

const struct logic_task logic_task_space_reasoning_tree = {
    "space_reasoning_tree", "relatives in a tree that facts describe", knobs, generate, verify,
};

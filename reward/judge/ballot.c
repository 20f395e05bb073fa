#include "reward/judge/ballot.h"

#include <stdio.h>
#include <string.h>

#include "core/check.h"

enum { QUESTIONS_MAX = BALLOT_BLIND_MAX * BALLOT_PASSES_MAX, TRY_STRIDE = 1000 };

struct ballot_rules ballot_defaults(enum verdict_mode mode)
{
    return (struct ballot_rules){
        .mode = mode, .blind = 1, .agree = 1, .tries = 3, .blind_temperature = 1};
}

/* Where the judgment of a question belongs. */
struct place {
    uint32_t pass, vote;
};

/* Everything that has no verdict yet. Places differ in their sample, so no judgment is another one's copy. */
static size_t open_questions(const struct ballot_rules *rules, const struct ballot *ballot,
                             uint32_t attempt, struct judge_question *questions,
                             struct place *places)
{
    size_t count = 0;
    for (uint32_t p = 0; p < ballot->passes; p++)
        for (uint32_t v = 0; v < rules->blind; v++) {
            if (ballot->pass[p].readable[v])
                continue;
            bool own = rules->blind == 1 && attempt == 0;
            questions[count] =
                (struct judge_question){.messages = ballot->pass[p].messages,
                                        .temperature = own ? -1 : rules->blind_temperature,
                                        .sample = attempt * TRY_STRIDE + v};
            places[count++] = (struct place){p, v};
        }
    return count;
}

static void take(const struct ballot_rules *rules, struct ballot *ballot,
                 struct judge_question *question, struct place place)
{
    if (question->status != STATUS_OK) {
        if (ballot->status == STATUS_OK)
            snprintf(ballot->why, sizeof ballot->why, "%s", question->why);
        ballot->status = ballot->status == STATUS_OK ? question->status : ballot->status;
        return;
    }
    struct ballot_pass *pass = &ballot->pass[place.pass];
    struct judge_answer *answer = &question->answer;
    pass->readable[place.vote] =
        verdict_read(rules->mode, answer->text, strlen(answer->text), &pass->verdicts[place.vote]);
    ballot->calls++;
    ballot->cached += answer->cached;
    ballot->cost += answer->cost;
    ballot->prompt_tokens += answer->prompt_tokens;
    ballot->completion_tokens += answer->completion_tokens;
    judge_answer_free(answer);
}

void ballot_hold(struct judge *judge, const struct ballot_rules *rules, struct ballot *ballot,
                 int64_t deadline_ns)
{
    struct judge_question questions[QUESTIONS_MAX];
    struct place places[QUESTIONS_MAX];
    CHECK(rules->blind >= 1 && rules->blind <= BALLOT_BLIND_MAX);
    CHECK(ballot->passes >= 1 && ballot->passes <= BALLOT_PASSES_MAX);
    ballot->status = STATUS_OK;
    for (uint32_t attempt = 0; attempt < rules->tries && ballot->status == STATUS_OK; attempt++) {
        size_t count = open_questions(rules, ballot, attempt, questions, places);
        if (count == 0)
            break;
        judge_ask_all(judge, questions, count, deadline_ns);
        for (size_t i = 0; i < count; i++)
            take(rules, ballot, &questions[i], places[i]);
    }
    ballot->unreadable = 0;
    for (uint32_t p = 0; p < ballot->passes; p++) {
        struct ballot_pass *pass = &ballot->pass[p];
        for (uint32_t v = 0; v < rules->blind; v++)
            ballot->unreadable += pass->readable[v] ? 0 : 1;
        pass->agreed = verdict_majority(pass->verdicts, pass->readable, rules->blind, rules->agree,
                                        &pass->verdict);
    }
}

#include "learner/packing.h"

#include "core/check.h"
#include "core/memory.h"

enum status packing_create(struct packing *packing, int32_t rows_max, int32_t sequences_max)
{
    size_t rows = (size_t)rows_max, sequences = (size_t)sequences_max;
    *packing = (struct packing){.rows_max = rows_max, .sequences_max = sequences_max};
    packing->ids = memory_array(rows, sizeof *packing->ids);
    packing->segments = memory_array(sequences, sizeof *packing->segments);
    packing->starts = memory_array(sequences + 1, sizeof *packing->starts);
    packing->row_index = memory_array(rows, sizeof *packing->row_index);
    packing->target = memory_array(rows, sizeof *packing->target);
    packing->logprob_old = memory_array(rows, sizeof *packing->logprob_old);
    packing->logprob_streamed = memory_array(rows, sizeof *packing->logprob_streamed);
    packing->advantage = memory_array(rows, sizeof *packing->advantage);
    packing->mask = memory_array(rows, sizeof *packing->mask);
    packing->scale = memory_array(rows, sizeof *packing->scale);
    packing->current = memory_array(rows, sizeof *packing->current);
    if (packing->ids && packing->segments && packing->starts && packing->row_index &&
        packing->target && packing->logprob_old && packing->logprob_streamed &&
        packing->advantage && packing->mask && packing->scale && packing->current)
        return STATUS_OK;
    packing_destroy(packing);
    return FAIL(STATUS_NO_MEMORY, "packing of %d rows", rows_max);
}

void packing_destroy(struct packing *packing)
{
    memory_free(packing->ids);
    memory_free(packing->segments);
    memory_free(packing->starts);
    memory_free(packing->row_index);
    memory_free(packing->target);
    memory_free(packing->logprob_old);
    memory_free(packing->logprob_streamed);
    memory_free(packing->advantage);
    memory_free(packing->mask);
    memory_free(packing->scale);
    memory_free(packing->current);
    *packing = (struct packing){0};
}

void packing_clear(struct packing *packing)
{
    packing->rows = packing->sequences = packing->heads = 0;
}

bool packing_fits(const struct packing *packing, const struct train_sequence *sequence)
{
    int64_t rows = (int64_t)sequence->prompt_count + sequence->response_count - 1;
    if (packing->sequences > 0 && packing->temperature != sequence->temperature)
        return false;
    return packing->sequences < packing->sequences_max && packing->rows + rows <= packing->rows_max;
}

void packing_add(struct packing *packing, const struct train_sequence *sequence, double scale)
{
    CHECK(packing_fits(packing, sequence));
    int32_t rows = (int32_t)(sequence->prompt_count + sequence->response_count - 1),
            first = packing->rows;
    packing->temperature = sequence->temperature;
    packing->segments[packing->sequences] =
        (struct op_segment){.slot = packing->sequences, .position = 0, .row = first, .count = rows};
    packing->starts[packing->sequences] = packing->heads;
    for (uint32_t i = 0; i < sequence->prompt_count; i++)
        packing->ids[packing->rows++] = (int32_t)sequence->prompt_ids[i];
    for (uint32_t i = 0; i + 1 < sequence->response_count; i++)
        packing->ids[packing->rows++] = (int32_t)sequence->response_ids[i];
    for (uint32_t i = 0; i < sequence->response_count; i++) {
        int32_t head = packing->heads++;
        packing->row_index[head] = first + (int32_t)sequence->prompt_count - 1 + (int32_t)i;
        packing->target[head] = (int32_t)sequence->response_ids[i];
        packing->logprob_old[head] = sequence->logprob_old != NULL ? sequence->logprob_old[i] : 0;
        packing->logprob_streamed[head] = sequence->logprob_streamed != NULL
                                              ? sequence->logprob_streamed[i]
                                              : packing->logprob_old[head];
        packing->advantage[head] = (float)sequence->advantage;
        packing->mask[head] = sequence->mask[i];
        packing->scale[head] = (float)scale;
        packing->current[head] = sequence->current != NULL && sequence->current[i];
    }
    packing->sequences++;
    packing->starts[packing->sequences] = packing->heads;
}

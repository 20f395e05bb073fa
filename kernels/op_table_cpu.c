/* The CPU backend's table. kernels/cpu exists three times, once for each instruction set; this file
 * picks one for the processor it runs on. WEIR_CPU_ISA=avx512|avx2|plain picks by hand (tests). */
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "kernels/cpu/panel.h"
#include "kernels/cpu_pool.h"
#include "kernels/op_table_host.h"

#define OP(op)                                                              \
    enum status cpu_avx512_##op(void *context, const struct op_##op *args); \
    enum status cpu_avx2_##op(void *context, const struct op_##op *args);   \
    enum status cpu_plain_##op(void *context, const struct op_##op *args);
KERNEL_OPS(OP)
#undef OP

enum isa { ISA_AVX512, ISA_AVX2, ISA_PLAIN, ISA_COUNT };

static const char *const isa_names[ISA_COUNT] = {"avx512", "avx2", "plain"};

/* AVX-512 and AVX2 fuse every multiply-add and run the same order: the same bits, one name. */
static const char *const isa_numerics[ISA_COUNT] = {"cpu-fma tile64", "cpu-fma tile64",
                                                    "cpu-plain tile64"};

static bool isa_supported(enum isa isa)
{
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (isa == ISA_AVX2)
        return avx2;
    if (isa == ISA_AVX512)
        return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    return true;
}

static enum status isa_choose(enum isa *isa)
{
    const char *wanted = getenv("WEIR_CPU_ISA");
    for (int i = 0; i < ISA_COUNT; i++) {
        const bool named = wanted && strcmp(wanted, isa_names[i]) == 0;
        if (named && !isa_supported((enum isa)i))
            return FAIL(STATUS_UNSUPPORTED, "WEIR_CPU_ISA=%s: this processor lacks it; unset it",
                        wanted);
        if (named || (!wanted && isa_supported((enum isa)i))) {
            *isa = (enum isa)i;
            return STATUS_OK;
        }
    }
    return FAIL(STATUS_INVALID, "WEIR_CPU_ISA=%s: use avx512, avx2 or plain", wanted);
}

static size_t cpu_packed_bytes(void *context, int64_t experts, int64_t n, int64_t k)
{
    (void)context;
    return sizeof(float) * (size_t)(experts * panel_floats(n, k));
}

static void cpu_destroy(struct op_table *table)
{
    struct pool *pool = table->context;
    pool_destroy(&pool);
    memory_free(table);
}

static void isa_fill(struct op_table *table, enum isa isa)
{
#define OP(op)                                      \
    table->op = isa == ISA_AVX512 ? cpu_avx512_##op \
                : isa == ISA_AVX2 ? cpu_avx2_##op   \
                                  : cpu_plain_##op;
    KERNEL_OPS(OP)
#undef OP
}

enum status op_table_create_cpu(struct op_table **table, int32_t threads)
{
    enum isa isa = ISA_PLAIN;
    TRY(isa_choose(&isa));
    struct op_table *made = memory_alloc(sizeof *made);
    if (!made)
        return FAIL(STATUS_NO_MEMORY, "op table cpu");
    struct pool *pool = NULL;
    const enum status status = pool_create(&pool, threads);
    if (status != STATUS_OK) {
        memory_free(made);
        return status;
    }
    made->name = "cpu";
    made->numerics = isa_numerics[isa];
    made->context = pool;
    op_table_host_fill(made);
    made->packed_bytes = cpu_packed_bytes;
    made->destroy = cpu_destroy;
    isa_fill(made, isa);
    *table = made;
    return STATUS_OK;
}

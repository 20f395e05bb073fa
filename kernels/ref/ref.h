/* kernels/ref/ref.h - the oracle's ops: double precision inside, one obvious loop each, tests only.
 *
 * Storage is f32 as on the cpu backend, all arithmetic is double, every result is rounded once when it
 * is stored. No threads, no vector code, no tricks: what ops.h says, read off line by line. A page of
 * keys and values holds K as [G][D][tile] and then V as [G][tile][D]; a packed weight is a copy. */
#ifndef KERNELS_REF_REF_H
#define KERNELS_REF_REF_H

#include "kernels/ops.h"

#define REF_KV_TILE 64

#define OP(op) enum status ref_##op(void *context, const struct op_##op *args);
KERNEL_OPS(OP)
#undef OP

#endif

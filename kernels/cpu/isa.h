/* kernels/cpu/isa.h - this folder is compiled once for each instruction set; CPU_NAME keeps the
 * entry points apart: CPU_NAME(linear) is cpu_avx512_linear, cpu_avx2_linear or cpu_plain_linear.
 * Everything but the ops and the table constructor is static. */
#ifndef KERNELS_CPU_ISA_H
#define KERNELS_CPU_ISA_H

#include "kernels/ops.h"

#ifndef CPU_ISA
#define CPU_ISA       plain
#define CPU_ISA_plain 1
#endif
#define CPU_PASTE_(isa, name) cpu_##isa##_##name
#define CPU_PASTE(isa, name)  CPU_PASTE_(isa, name)
#define CPU_NAME(name)        CPU_PASTE(CPU_ISA, name)

#define OP(op) enum status CPU_NAME(op)(void *context, const struct op_##op *args);
KERNEL_OPS(OP)
#undef OP

#endif

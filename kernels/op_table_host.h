/* kernels/op_table_host.h - what the tables of the host share: memory and page sizes. */
#ifndef KERNELS_OP_TABLE_HOST_H
#define KERNELS_OP_TABLE_HOST_H

#include "kernels/ops.h"

enum { HOST_KV_TILE = 64 };

/* Fills the memory functions, element sizes (f32), kv_tile and kv_page_bytes. */
void op_table_host_fill(struct op_table *table);

#endif

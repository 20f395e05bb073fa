/* A table that ends before destroy. */
#define STRUCT_SIZE 72
#include "tests/plugins/refused.h"

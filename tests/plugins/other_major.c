/* Built against a later major version. */
#define ABI_MAJOR 7
#include "tests/plugins/refused.h"

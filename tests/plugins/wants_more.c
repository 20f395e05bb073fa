/* Wants something of a newer weir. */
#define CAPS 0x80
#include "tests/plugins/refused.h"

#ifndef CORE_ALONE_H
#define CORE_ALONE_H
#include <stdint.h>
uint32_t alone(void);
#endif

#ifndef CORE_NEEDY_H
#define CORE_NEEDY_H
uint32_t needy(void);
#endif

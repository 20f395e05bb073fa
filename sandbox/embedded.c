/* The programs of sandbox/launcher as bytes of this library. The build defines their paths. */
#include "sandbox/sandbox_internal.h"

#define EMBED(name, path)                                                                      \
    __asm__(".pushsection .rodata\n.balign 16\n" #name "_begin:\n.incbin \"" path "\"\n" #name \
            "_end:\n.byte 0\n.popsection\n");                                                  \
    extern const uint8_t name##_begin[] __attribute__((visibility("hidden")));                 \
    extern const uint8_t name##_end[] __attribute__((visibility("hidden")));                   \
    const struct embedded embedded_##name = {name##_begin, name##_end}

EMBED(launcher, SANDBOX_LAUNCHER_FILE);
EMBED(zygote, SANDBOX_ZYGOTE_FILE);
EMBED(probe, SANDBOX_PROBE_FILE);

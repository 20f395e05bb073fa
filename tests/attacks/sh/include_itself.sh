printf '#include "a.c"\n#include "a.c"\n' > a.c
gcc -fmax-include-depth=100000 -fsyntax-only a.c > /dev/null 2>&1 && echo LEAK || echo contained

printf '__asm__(".incbin \\"/etc/shadow\\"");int main(void){return 0;}\n' > a.c
gcc a.c > /dev/null 2>&1 && echo LEAK || echo contained

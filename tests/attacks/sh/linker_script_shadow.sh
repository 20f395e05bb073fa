printf 'INPUT(/etc/shadow)\n' > a.ld
printf 'int main(void){return 0;}\n' > a.c
gcc a.c a.ld > /dev/null 2>&1 && echo LEAK || echo contained

printf 'static char a[1ull << 40] = {1}; int main(void){return a[5];}\n' > a.c
gcc a.c > /dev/null 2>&1 && echo LEAK || echo contained

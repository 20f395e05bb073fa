{ echo 'int main(void){'; i=0; while [ $i -lt 3000 ]; do echo "undeclared$i + 'abc' + \"x\";"; i=$((i + 1)); done; echo '}'; } > a.c
exec gcc -fmax-errors=0 a.c

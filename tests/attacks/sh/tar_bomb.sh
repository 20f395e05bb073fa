i=0
while [ $i -lt 100 ]; do head -c 10000000 /dev/zero > f$i 2> /dev/null || break; i=$((i + 1)); done
[ $i -lt 10 ] && echo contained || echo LEAK

printf '#include "/etc/shadow"\n' > a.c
gcc a.c > /dev/null 2>&1 && echo LEAK || echo contained

{ echo '#define A0 x,x,x,x,x,x,x,x,x,x'; for i in 1 2 3 4 5 6 7 8; do j=$((i - 1)); echo "#define A$i A$j,A$j,A$j,A$j,A$j,A$j,A$j,A$j,A$j,A$j"; done; echo 'int a[] = {A8};'; } > a.c
exec gcc -fsyntax-only -w a.c

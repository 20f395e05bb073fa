# The compiler reads /dev/zero for ever.
printf '#include "/dev/zero"\n' > a.c
exec gcc a.c

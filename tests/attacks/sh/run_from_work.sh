cp /usr/bin/true t && chmod 755 t
./t 2> /dev/null && echo LEAK
cp t /tmp/t && /tmp/t 2> /dev/null && echo LEAK
cp t /dev/shm/t && /dev/shm/t 2> /dev/null && echo LEAK
echo contained

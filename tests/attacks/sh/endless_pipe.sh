yes | cat > /dev/null &
yes | head -c 100000000000 > /dev/null

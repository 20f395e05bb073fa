printf 'template<int N, int M> struct F { static const long v = F<N-1, M>::v + F<N-1, M+1>::v + F<N-1, M+2>::v; };\ntemplate<int M> struct F<0, M> { static const long v = 1; };\nint main() { return F<3000, 0>::v; }\n' > a.cc
exec g++ -ftemplate-depth=100000 a.cc > /dev/null 2>&1

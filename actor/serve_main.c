/* actor/serve_main.c - weir-serve, behind `weir serve`. */
int main(void)
{
    return 0;
}

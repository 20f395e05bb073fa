/* Each line breaks one rule, except the last five. */
void careless(char *to, const char *from)
{
    strcpy(to, from);
    strcat(to, from);
    sprintf(to, "%s", from);
    gets(to);
    int number = atoi(from);
    strtok(to, " ");
    number = rand();
    to = alloca(8);
    assert(to);
    printf("%s", to);
    fprintf(stdout, "%s", to);
    to = malloc(8);
    to = calloc(8, 1);
    to = realloc(to, 8);
    free(to);
    clock_gettime(0, 0);
    /* FIXME */
    /* TODO later */
    /* printf("in a comment") */
    from = "strcpy(in, a string)";
    box->free(to); /* TODO(#12): a member, and it says where */
    /* lint: allow(free): memory of another library */
    free(to);
}

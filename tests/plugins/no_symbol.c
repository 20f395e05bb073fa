/* A shared object, but no plugin. */
int weir_reward_nothing(void);
int weir_reward_nothing(void)
{
    return 0;
}

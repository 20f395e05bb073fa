/* tests/attacks/attack.h - what the hostile programs share: each file is one program with many attacks by name.
 *
 *     attack NAME PORT ABSTRACT SOCKET CANARY HOST_PID
 *     attack list                                          the names
 *
 * An attack that is to be contained returns whether it worked; the program then says "contained" or "LEAK". */
#ifndef TESTS_ATTACKS_ATTACK_H
#define TESTS_ATTACKS_ATTACK_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

struct bait {
    int port;
    const char *abstract, *socket, *canary;
    pid_t host_pid;
};
static struct bait bait;

struct attack {
    const char *name;
    bool (*works)(void);
};

static inline int attack_main(int argc, char **argv, const struct attack *attacks, size_t count)
{
    if (argc == 2)
        for (size_t i = 0; i < count; i++)
            printf("%s\n", attacks[i].name);
    if (argc != 7)
        return argc == 2 ? 0 : 99;
    bait = (struct bait){(int)strtol(argv[2], NULL, 10), argv[3], argv[4], argv[5],
                         (pid_t)strtol(argv[6], NULL, 10)};
    for (size_t i = 0; i < count; i++)
        if (strcmp(attacks[i].name, argv[1]) == 0) {
            bool worked = attacks[i].works();
            printf(worked ? "LEAK\n" : "contained\n");
            return worked;
        }
    printf("no attack %s\n", argv[1]);
    return 98;
}

#endif

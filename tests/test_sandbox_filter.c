/* links: core sandbox */
/* label: unit */
/* timeout: 30 */
/* The filter as the kernel reads it: its instructions are run here on made-up calls. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "sandbox/filter.h"
#include "sandbox/filter_program.h"

#ifdef __x86_64__
#define HERE AUDIT_ARCH_X86_64
#else
#define HERE AUDIT_ARCH_AARCH64
#endif
#define ALLOW      SECCOMP_RET_ALLOW
#define KILL       SECCOMP_RET_KILL_PROCESS
#define SAYS(code) (SECCOMP_RET_ERRNO | (code))

static bool jumps(const struct sock_filter *at, uint32_t value)
{
    switch (BPF_OP(at->code)) {
    case BPF_JEQ:
        return value == at->k;
    case BPF_JGE:
        return value >= at->k;
    default:
        assert_int_equal(BPF_OP(at->code), BPF_JSET);
        return (value & at->k) != 0;
    }
}

/* What the program answers; it must stay inside itself. */
static uint32_t answer(const struct buffer *program, const struct seccomp_data *call)
{
    const struct sock_filter *code = (const struct sock_filter *)(const void *)program->bytes;
    size_t count = program->size / sizeof *code;
    uint32_t value = 0;
    for (size_t at = 0; at < count; at++) {
        const struct sock_filter *now = &code[at];
        if (now->code == (BPF_RET | BPF_K))
            return now->k;
        if (now->code == (BPF_LD | BPF_W | BPF_ABS)) {
            assert_true(now->k + sizeof value <= sizeof *call);
            memcpy(&value, (const uint8_t *)call + now->k, sizeof value);
        } else if (now->code == (BPF_JMP | BPF_JA)) {
            at += now->k;
        } else {
            assert_int_equal(BPF_CLASS(now->code), BPF_JMP);
            at += jumps(now, value) ? now->jt : now->jf;
        }
    }
    fail_msg("the program has no end");
    return 0;
}

static uint32_t ask(const struct buffer *program, long number, uint64_t first, uint64_t second)
{
    struct seccomp_data call = {.nr = (int)number, .arch = HERE, .args = {first, second}};
    return answer(program, &call);
}

static void test_filter_each_argument_rule_allows_its_values_only(void **state)
{
    (void)state;
    const uint64_t high = UINT64_C(1) << 32;
    const struct {
        long number;
        uint64_t first, second;
        uint32_t plain, locks;
    } rows[] = {
        {SYS_read, 9, 9, ALLOW, ALLOW},
        {SYS_mount, 0, 0, SAYS(EPERM), SAYS(EPERM)},
        {SYS_sync, 0, 0, SAYS(0), SAYS(0)},
        {SYS_ptrace, 0, 0, SAYS(ENOSYS), SAYS(ENOSYS)},
        {SYS_clone3, 0, 0, SAYS(ENOSYS), SAYS(ENOSYS)},
        {SYS_ioctl, 0, TCGETS, ALLOW, ALLOW},
        {SYS_ioctl, 0, high | TCGETS, ALLOW, ALLOW}, /* the kernel looks at 32 bits */
        {SYS_ioctl, 0, TIOCSTI, SAYS(ENOSYS), SAYS(ENOSYS)},
        {SYS_fcntl, 0, F_GETFL, ALLOW, ALLOW},
        {SYS_fcntl, 0, F_SETLK, SAYS(ENOSYS), ALLOW},
        {SYS_fcntl, 0, F_GETLK, SAYS(ENOSYS), SAYS(ENOSYS)},
        {SYS_fcntl, 0, F_NOTIFY, SAYS(ENOSYS), SAYS(ENOSYS)},
        {SYS_socket, AF_INET, 0, ALLOW, ALLOW},
        {SYS_socket, AF_INET6, 0, ALLOW, ALLOW},
        {SYS_socket, AF_UNIX, 0, SAYS(EAFNOSUPPORT), SAYS(EAFNOSUPPORT)},
        {SYS_socket, AF_NETLINK, 0, SAYS(EAFNOSUPPORT), SAYS(EAFNOSUPPORT)},
        {SYS_socket, high | AF_INET, 0, SAYS(EAFNOSUPPORT), SAYS(EAFNOSUPPORT)},
        {SYS_socketpair, AF_UNIX, 0, ALLOW, ALLOW},
        {SYS_socketpair, AF_INET, 0, SAYS(ENOSYS), SAYS(ENOSYS)},
        {SYS_clone, CLONE_VM | CLONE_THREAD, 0, ALLOW, ALLOW},
        {SYS_clone, CLONE_VM | CLONE_NEWUSER, 0, SAYS(EPERM), SAYS(EPERM)},
        {SYS_clone, CLONE_PTRACE, 0, SAYS(EPERM), SAYS(EPERM)},
        {SYS_prlimit64, 0, 0, ALLOW, ALLOW},
        {SYS_prlimit64, 1, 0, SAYS(EPERM), SAYS(EPERM)},
        {SYS_prlimit64, high, 0, SAYS(EPERM), SAYS(EPERM)},
        {1000, 0, 0, SAYS(ENOSYS), SAYS(ENOSYS)},
        {FILTER_CALLS_MAX + 5, 0, 0, SAYS(ENOSYS), SAYS(ENOSYS)},
        {-1, 0, 0, SAYS(ENOSYS), SAYS(ENOSYS)},
    };
    for (int locks = 0; locks < 2; locks++) {
        struct buffer program;
        buffer_init(&program, 0);
        assert_int_equal(filter_make(&program, locks == 1), STATUS_OK);
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
            assert_int_equal(ask(&program, rows[i].number, rows[i].first, rows[i].second),
                             locks == 1 ? rows[i].locks : rows[i].plain);
        buffer_free(&program);
    }
}

static void test_filter_other_architectures_are_killed(void **state)
{
    (void)state;
    struct buffer program;
    buffer_init(&program, 0);
    assert_int_equal(filter_make(&program, false), STATUS_OK);
    struct seccomp_data call = {.nr = SYS_read, .arch = AUDIT_ARCH_I386};
    assert_int_equal(answer(&program, &call), KILL);
#ifdef __x86_64__
    assert_int_equal(ask(&program, 0x40000000, 0, 0), KILL);
    assert_int_equal(ask(&program, 0x40000000 + SYS_read, 0, 0), KILL);
#endif
    buffer_free(&program);
}

/* Every number, with an answer of its own here and there, so that ranges of one and jumps over many instructions come. */
static void test_filter_program_each_number_has_its_answer(void **state)
{
    (void)state;
    static struct filter_table table = {.usual = SAYS(ENOSYS)};
    static const uint32_t values[] = {3, 5, 7};
    static struct filter_choice choices[60];
    struct buffer program;
    buffer_init(&program, 0);
    for (uint32_t i = 0; i < FILTER_CALLS_MAX; i++)
        table.actions[i] = i % 7 == 3 ? SAYS(i % 5) : ALLOW;
    for (int i = 0; i < 60; i++)
        choices[i] = (struct filter_choice){i * 11, 1, i % 2 == 0 ? LOOK_LOW : LOOK_WHOLE,
                                            values, 3, SAYS(100)};
    table.choices = choices;
    table.choice_count = 60;
    assert_int_equal(filter_program(&table, HERE, &program), STATUS_OK);
    for (uint32_t i = 0; i < FILTER_CALLS_MAX; i++) {
        bool chosen = i % 11 == 0 && i / 11 < 60;
        assert_int_equal(ask(&program, i, 0, 5), chosen ? ALLOW : table.actions[i]);
        assert_int_equal(ask(&program, i, 0, 6), chosen ? SAYS(100) : table.actions[i]);
    }
    buffer_free(&program);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_filter_each_argument_rule_allows_its_values_only),
        cmocka_unit_test(test_filter_other_architectures_are_killed),
        cmocka_unit_test(test_filter_program_each_number_has_its_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

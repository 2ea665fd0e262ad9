/* A static program with every kind of mapping that a reader must get right, of
 * a user who is not root, with a child that has ended and one that is stopped. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096ul
#define HUGE (4ul << 20)
#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif

static const char *program;

static void say(const char *name, const void *address, uint64_t value)
{
    printf("value %s 0x%lx 0x%llx\n", name, (unsigned long)address, (unsigned long long)value);
}

static uint64_t *map(size_t size, int protection, int flags, int fd)
{
    void *at = mmap(0, size, protection, flags, fd, 0);
    return at == MAP_FAILED ? 0 : at;
}

static uint64_t *anonymous(size_t size, int flags)
{
    return map(size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1);
}

/* A value in the first word of each page. */
static void fill(uint64_t *at, size_t size, uint64_t value)
{
    for (size_t page = 0; at && page < size / PAGE; page++)
        at[page * PAGE / 8] = value + page;
}

static void hidden(void)
{
    uint64_t *at = anonymous(16 * PAGE, 0);
    fill(at, 8 * PAGE, 0x0b5c0e0000);
    mprotect(at, 16 * PAGE, PROT_NONE);
    say("hidden", at + 3 * PAGE / 8, 0x0b5c0e0003);
}

static void huge(void)
{
    uint64_t *at = anonymous(3 * HUGE, 0);
    uint64_t *aligned = (uint64_t *)(((unsigned long)at + HUGE - 1) & ~(HUGE - 1));
    madvise(aligned, HUGE, MADV_HUGEPAGE);
    fill(aligned, HUGE, 0x4065000000);
    say("transparent", aligned + 700 * PAGE / 8, 0x4065000000 + 700);
    uint64_t *hidden = aligned + HUGE / 8;
    madvise(hidden, HUGE, MADV_HUGEPAGE);
    fill(hidden, HUGE, 0x40651e0000);
    mprotect(hidden, HUGE, PROT_NONE);
    say("transparent_hidden", hidden + 900 * PAGE / 8, 0x40651e0000 + 900);
    at = anonymous(HUGE, MAP_HUGETLB);
    fill(at, HUGE, 0x7ab1e00000);
    if (at)
        say("hugetlb", at + 300 * PAGE / 8, 0x7ab1e00000 + 300);
}

static void files(void)
{
    uint64_t *untouched = map(64 * PAGE, PROT_READ, MAP_PRIVATE, open(program, O_RDONLY));
    printf("untouched 0x%lx\n", (unsigned long)untouched);

    int fd = open("/tmp/lab shared file", O_RDWR | O_CREAT, 0600);
    if (ftruncate(fd, 8 * PAGE) != 0)
        return;
    uint64_t *shared = map(8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
    fill(shared, 4 * PAGE, 0x54a3ed0000);
    say("shared", shared + 2 * PAGE / 8, 0x54a3ed0002);

    fd = open("/tmp/lab-deleted", O_RDWR | O_CREAT, 0600);
    if (ftruncate(fd, 2 * PAGE) != 0)
        return;
    uint64_t *deleted = map(2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
    fill(deleted, 2 * PAGE, 0xde1e7ed000);
    unlink("/tmp/lab-deleted");
    say("deleted", deleted + PAGE / 8, 0xde1e7ed001);

    uint64_t *together = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1);
    fill(together, 2 * PAGE, 0x70ce74e000);
    say("together", together, 0x70ce74e000);

    uint64_t *copied = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, open(program, O_RDONLY));
    copied[PAGE / 8] = 0xc0b1ed;
    say("copied", copied + PAGE / 8, 0xc0b1ed);
}

static void others(void)
{
    volatile uint64_t *zero = anonymous(8 * PAGE, 0);
    say("zero", (const void *)zero, zero[0]);

    /* As Go and Java do it: far more address space than memory. */
    size_t size = sizeof(long) == 8 ? 4096ul << 20 : 64ul << 20;
    uint64_t *reserved = map(size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
    uint64_t *inside = reserved + size / 16;
    mprotect(inside, PAGE, PROT_READ | PROT_WRITE);
    *inside = 0x5e5e57ed;
    say("reserved", inside, 0x5e5e57ed);

    uint64_t *named = anonymous(2 * PAGE, 0);
    fill(named, 2 * PAGE, 0x9a3ed000);
    prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, named, 2 * PAGE, "lab name");
    say("named", named, 0x9a3ed000);
}

static void children(void)
{
    if (fork() == 0)
        _exit(7);
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_NAME, "pages stopped)");
        for (;;)
            pause();
    }
    usleep(100000);
    kill(child, SIGSTOP);
    waitpid(child, 0, WUNTRACED);
}

int main(int argc, char **argv)
{
    program = argv[0];
    (void)argc;
    hidden();
    huge();
    files();
    others();
    if (setgid(1001) != 0 || setuid(1000) != 0)
        return 1;
    children();
    printf("up\n");
    fflush(stdout);
    for (;;)
        pause();
}

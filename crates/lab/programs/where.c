/* Sleeps in the kernel in ways that leave different stacks, each in a process of its
 * own: `sleeps HOW PID` says which. Then says where each thread sleeps, as the kernel
 * finds that itself: `task TID FUNCTION` with its wait channel, and its stack. Needs a
 * kernel with CONFIG_STACKTRACE and CONFIG_USERFAULTFD; must start last, so that all
 * others are there. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE 4096ul

/* The ends of a pipe with one byte in it, or none. */
static int *pipe_with(const char *bytes)
{
    static int ends[2];
    size_t count = strlen(bytes);
    if (pipe(ends) != 0 || write(ends[1], bytes, count) != (ssize_t)count)
        _exit(1);
    return ends;
}

/* Whoever touches it waits for a page that nobody brings. */
static char *missing_page(void)
{
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
    struct uffdio_api api = {.api = UFFD_API};
    char *page = mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct uffdio_register range = {.range = {.start = (unsigned long)page, .len = PAGE},
                                    .mode = UFFDIO_REGISTER_MODE_MISSING};
    if (ioctl(fd, UFFDIO_API, &api) != 0 || ioctl(fd, UFFDIO_REGISTER, &range) != 0)
        _exit(1);
    return page;
}

static void in_pipe(void)
{
    char byte;
    _exit((int)read(pipe_with("")[0], &byte, 1));
}

static void in_poll(void)
{
    struct pollfd file = {.fd = pipe_with("")[0], .events = POLLIN};
    _exit(poll(&file, 1, -1));
}

/* A fault of the program itself. */
static void in_fault(void)
{
    _exit(*(volatile char *)missing_page());
}

/* A fault of the kernel, in a system call. */
static void in_fault_of_kernel(void)
{
    _exit((int)read(pipe_with("x")[0], missing_page(), 1));
}

/* A file below /proc, as a text; none is a text of no length. */
static const char *text_of(const char *pid, const char *tid, const char *name)
{
    static char text[1 << 16];
    char path[600];
    snprintf(path, sizeof path, "/proc/%s/task/%s/%s", pid, tid, name);
    FILE *file = fopen(path, "r");
    size_t count = file ? fread(text, 1, sizeof text - 1, file) : 0;
    text[count] = 0;
    if (file)
        fclose(file);
    return text;
}

/* Starts a process that sleeps, and waits until it does. */
static void start(const char *how, void (*sleep_so)(void))
{
    pid_t child = fork();
    if (child == 0)
        sleep_so();
    char pid[16];
    snprintf(pid, sizeof pid, "%d", child);
    for (int tries = 0; tries < 200; tries++) {
        const char *state = strrchr(text_of(pid, pid, "stat"), ')');
        if (state && (state[2] == 'S' || state[2] == 'D'))
            break;
        usleep(100000);
    }
    printf("sleeps %s %s\n", how, pid);
}

static void tell_threads(const char *pid)
{
    char path[300];
    snprintf(path, sizeof path, "/proc/%s/task", pid);
    DIR *threads = opendir(path);
    for (struct dirent *entry; threads && (entry = readdir(threads));) {
        if (atoi(entry->d_name) == 0)
            continue;
        printf("task %s %s\n", entry->d_name, text_of(pid, entry->d_name, "wchan"));
        fputs(text_of(pid, entry->d_name, "stack"), stdout);
    }
    if (threads)
        closedir(threads);
}

int main(void)
{
    setvbuf(stdout, 0, _IOLBF, 0);
    start("pipe", in_pipe);
    start("poll", in_poll);
    start("fault", in_fault);
    start("fault-of-kernel", in_fault_of_kernel);
    /* What started last is still on its way to where it sleeps. */
    usleep(500000);
    DIR *proc = opendir("/proc");
    for (struct dirent *entry; proc && (entry = readdir(proc));)
        if (atoi(entry->d_name) != 0)
            tell_threads(entry->d_name);
    puts("up");
    for (;;)
        pause();
}

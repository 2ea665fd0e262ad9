/* Many ways to sleep and many things to hold, each in a thread or process of its
 * own. `up` is said when all are there. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void in_pause(void) { pause(); }
static void in_poll(void) { poll(0, 0, -1); }
static void in_select(void) { select(0, 0, 0, 0, 0); }
static void in_futex(void)
{
    static int word;
    syscall(SYS_futex, &word, FUTEX_WAIT, 0, 0, 0, 0);
}
static void in_nanosleep(void)
{
    struct timespec day = { .tv_sec = 86400 };
    nanosleep(&day, 0);
}
static void in_epoll(void)
{
    struct epoll_event event;
    epoll_wait(epoll_create1(0), &event, 1, -1);
}
static void in_pipe(void)
{
    int ends[2];
    char byte;
    if (pipe(ends) == 0 && read(ends[0], &byte, 1) < 0)
        fail("read");
}
static void in_eventfd(void)
{
    eventfd_t value;
    eventfd_read(eventfd(0, 0), &value);
}
static void in_timerfd(void)
{
    uint64_t value;
    int fd = timerfd_create(CLOCK_MONOTONIC, 0);
    struct itimerspec day = { .it_value.tv_sec = 86400 };
    timerfd_settime(fd, 0, &day, 0);
    if (read(fd, &value, sizeof value) < 0)
        fail("timerfd");
}
static void in_inotify(void)
{
    char event[64];
    int fd = inotify_init1(0);
    inotify_add_watch(fd, "/lab", IN_CREATE);
    if (read(fd, event, sizeof event) < 0)
        fail("inotify");
}
static void in_accept(void)
{
    struct sockaddr_in any = { .sin_family = AF_INET };
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    bind(fd, (struct sockaddr *)&any, sizeof any);
    listen(fd, 1);
    accept(fd, 0, 0);
}
static void in_recv(void)
{
    int ends[2];
    char byte;
    socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
    recv(ends[0], &byte, 1, 0);
}
static void in_udp(void)
{
    struct sockaddr_in any = { .sin_family = AF_INET };
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    char byte;
    bind(fd, (struct sockaddr *)&any, sizeof any);
    recv(fd, &byte, 1, 0);
}
static void in_semaphore(void)
{
    struct sembuf take = { .sem_op = -1 };
    semop(semget(IPC_PRIVATE, 1, 0600), &take, 1);
}
static void in_message(void)
{
    struct { long kind; char text[8]; } message;
    msgrcv(msgget(IPC_PRIVATE, 0600), &message, 8, 0, 0);
}
static void in_sigwait(void)
{
    sigset_t set;
    int got;
    sigfillset(&set);
    sigwait(&set, &got);
}
static void in_lock(void)
{
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&mutex);
    pthread_mutex_lock(&mutex);
}

/* Names that need care wherever they are printed. */
static const struct { const char *name; void (*sleep)(void); } THREADS[] = {
    { "in-pause", in_pause },
    { "in-poll", in_poll },
    { "in-select", in_select },
    { "in-futex", in_futex },
    { "in-nanosleep", in_nanosleep },
    { "in-epoll", in_epoll },
    { "in-pipe", in_pipe },
    { "in-eventfd", in_eventfd },
    { "in-timerfd", in_timerfd },
    { "in-inotify", in_inotify },
    { "in-accept", in_accept },
    { "in-recv", in_recv },
    { "in-udp", in_udp },
    { "in-semaphore", in_semaphore },
    { "in-message", in_message },
    { "in-sigwait", in_sigwait },
    { "in-lock", in_lock },
    { "new\nline", in_pause },
    { "esc\33[31m", in_pause },
    { ") S 1 (", in_pause },
    { "spaces  in it", in_pause },
    { "na\xc3\xafve", in_pause },
    { "bad\xff\xfe", in_pause },
    { "", in_pause },
};

#define COUNT (sizeof THREADS / sizeof *THREADS)

static void *thread(void *number)
{
    size_t index = (size_t)number;
    prctl(PR_SET_NAME, THREADS[index].name);
    for (;;)
        THREADS[index].sleep();
    return 0;
}

static void start_threads(void)
{
    for (size_t i = 0; i < COUNT; i++) {
        pthread_t id;
        if (pthread_create(&id, 0, thread, (void *)i) != 0)
            fail("pthread_create");
    }
}

/* A process of its own, which never ends. */
static void apart(const char *name, void (*body)(void))
{
    int ready[2];
    char byte = 0;
    if (pipe(ready) != 0)
        fail("pipe");
    if (fork() == 0) {
        prctl(PR_SET_NAME, name);
        body();
        if (write(ready[1], &byte, 1) != 1)
            fail("write");
        for (;;)
            pause();
    }
    if (read(ready[0], &byte, 1) != 1)
        fail(name);
    close(ready[0]);
    close(ready[1]);
}

/* A mapping of a socket: its name in maps is `socket:[N]`. */
static void packet(void)
{
    struct tpacket_req ring = { 4096, 4, 2048, 8 };
    int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
    if (fd < 0 || setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &ring, sizeof ring) != 0)
        fail("PACKET_RX_RING");
    if (mmap(0, 4 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED)
        fail("mapping of a socket");
    struct sock_filter all[] = { BPF_STMT(BPF_RET | BPF_K, 0xffff) };
    struct sock_fprog filter = { 1, all };
    setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter);
}

/* A program for the kernel, which it translates and lists in kallsyms. */
static void ebpf(void)
{
    struct bpf_insn code[] = {
        { .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 1 },
        { .code = BPF_JMP | BPF_EXIT },
    };
    union bpf_attr attr = {
        .prog_type = BPF_PROG_TYPE_SOCKET_FILTER,
        .insns = (uintptr_t)code,
        .insn_cnt = 2,
        .license = (uintptr_t) "GPL",
        .prog_name = "lab_filter",
    };
    if (syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof attr) < 0)
        fail("BPF_PROG_LOAD");
}

static void seccomp(void)
{
    struct sock_filter allow[] = { BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) };
    struct sock_fprog filter = { 1, allow };
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0)
        fail("seccomp");
}

static void zombie(void)
{
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_NAME, "zombie");
        _exit(7);
    }
    siginfo_t info;
    waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT);
}

/* What maps says of memory without a path of its own. */
static void mappings(void)
{
    int fd = memfd_create("lab memfd", 0);
    if (ftruncate(fd, 8192) != 0)
        fail("memfd");
    mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    shmat(shmget(IPC_PRIVATE, 8192, 0600), 0, 0);
    mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    mmap(0, 1ull << 43, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    char path[] = "/lab/new\nline and\\backslash";
    fd = open(path, O_RDWR | O_CREAT, 0600);
    if (fd < 0 || write(fd, path, sizeof path) < 0)
        fail("file");
    mmap(0, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
    fd = open("/lab/x (deleted)", O_RDWR | O_CREAT, 0600);
    if (fd < 0 || write(fd, path, sizeof path) < 0)
        fail("file called deleted");
    mmap(0, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
    fd = open("/lab/gone", O_RDWR | O_CREAT, 0600);
    if (fd < 0 || write(fd, path, sizeof path) < 0 || unlink("/lab/gone") != 0)
        fail("deleted file");
    mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
}

/* Its parent sleeps in vfork. */
static void vforked(void)
{
    if (fork() == 0) {
        prctl(PR_SET_NAME, "vfork-parent");
        if (vfork() == 0)
            for (;;)
                pause();
    }
}

/* Threads that live on when the main one has ended. */
static void leaderless(void)
{
    if (fork() != 0)
        return;
    prctl(PR_SET_NAME, "leaderless");
    for (size_t i = 0; i < 3; i++) {
        pthread_t id;
        pthread_create(&id, 0, thread, (void *)i);
    }
    pthread_exit(0);
}

int main(void)
{
    prctl(PR_SET_NAME, "crowd");
    apart("packet", packet);
    apart("ebpf", ebpf);
    apart("seccomp", seccomp);
    apart("zombies", zombie);
    apart("mappings", mappings);
    vforked();
    leaderless();
    start_threads();
    sleep(1);
    printf("up\n");
    fflush(stdout);
    for (;;)
        pause();
}

/* Puts a second kernel into the memory that `crashkernel=` keeps free: what a kdump
 * service does. As first process of that kernel, which it becomes when the first one
 * has crashed, it says so and waits.
 *
 * Before that it makes the kernel generate code: a program for BPF, which lives as long
 * as this one, and the trampoline of a kprobe. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/bpf.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* <linux/kexec.h> */
#define ON_CRASH 2

static int load(const char *options)
{
    int kernel = open("/crash/vmlinuz", O_RDONLY | O_CLOEXEC);
    int files = open("/crash/initramfs.gz", O_RDONLY | O_CLOEXEC);

    return syscall(SYS_kexec_file_load, kernel, files, strlen(options) + 1, options, ON_CRASH);
}

static void load_bpf(void)
{
    static const struct bpf_insn code[] = {
        { .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0 },
        { .code = BPF_JMP | BPF_EXIT },
    };
    union bpf_attr attr = {
        .prog_type = BPF_PROG_TYPE_SOCKET_FILTER,
        .insn_cnt = 2,
        .insns = (unsigned long)code,
        .license = (unsigned long)"GPL",
        .prog_name = "lab",
    };

    if (syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr)) < 0)
        perror("bpf");
}

static void put(const char *path, const char *text)
{
    int file = open(path, O_WRONLY | O_CLOEXEC);

    if (file < 0 || write(file, text, strlen(text)) < 0)
        perror(path);
    close(file);
}

static void set_kprobe(void)
{
    mkdir("/tmp/tracing", 0700);
    if (mount("tracing", "/tmp/tracing", "tracefs", 0, NULL) != 0)
        perror("tracefs");
    put("/tmp/tracing/kprobe_events", "p:lab vfs_fsync_range\n");
    put("/tmp/tracing/events/kprobes/lab/enable", "1");
}

int main(void)
{
    cpu_set_t last;

    if (getpid() == 1) {
        printf("CRASH KERNEL READY\n");
        fflush(stdout);
        for (;;)
            pause();
    }
    /* The shell that will ask for the crash: not on the first processor, which is
     * also the only one of the second kernel. */
    CPU_ZERO(&last);
    CPU_SET(sysconf(_SC_NPROCESSORS_ONLN) - 1, &last);
    if (sched_setaffinity(getppid(), sizeof(last), &last) != 0)
        perror("sched_setaffinity");
    load_bpf();
    set_kprobe();
    if (load("console=ttyS0 nr_cpus=1 reset_devices panic=-1") != 0)
        perror("kexec_file_load");
    else
        printf("up\n");
    fflush(stdout);
    for (;;)
        pause();
}

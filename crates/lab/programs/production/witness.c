/* witness before|after: sends out what the guest knows of itself through QEMU's
 * debug console (I/O port 0xe9), as sections: a line `=== NAME LENGTH`, that many
 * bytes, a line feed. `before` also sends what does not change. Everything is
 * read into one buffer first, so that little memory is needed at a time. */
#define _FILE_OFFSET_BITS 64
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/klog.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096
#define BATCH 512

static char *buffer;
static size_t used, room;

static void reserve(size_t more)
{
    if (used + more <= room)
        return;
    room = (used + more) * 2;
    buffer = realloc(buffer, room);
    if (!buffer)
        abort();
}

__attribute__((format(printf, 1, 2))) static void add(const char *format, ...)
{
    va_list list;
    reserve(1024);
    va_start(list, format);
    used += (size_t)vsnprintf(buffer + used, 1024, format, list);
    va_end(list);
}

/* Adds a file as it is; -1 if it cannot be opened. */
static ssize_t add_file(const char *path)
{
    int fd = open(path, O_RDONLY);
    if (fd < 0)
        return -1;
    size_t start = used;
    ssize_t count;
    do {
        reserve(1 << 16);
        count = read(fd, buffer + used, 1 << 16);
        used += count > 0 ? (size_t)count : 0;
    } while (count > 0);
    close(fd);
    return (ssize_t)(used - start);
}

static void out(const char *bytes, size_t count)
{
    __asm__ volatile("rep outsb" : "+S"(bytes), "+c"(count) : "d"(0xe9) : "memory");
}

/* Sends the buffer as a section, and empties it. */
__attribute__((format(printf, 1, 2))) static void say(const char *format, ...)
{
    char name[96], head[128];
    va_list list;
    va_start(list, format);
    vsnprintf(name, sizeof name, format, list);
    va_end(list);
    out(head, (size_t)snprintf(head, sizeof head, "=== %s %zu\n", name, used));
    out(buffer, used);
    out("\n", 1);
    used = 0;
}

static void say_file(const char *name, const char *path)
{
    add_file(path);
    say("%s", name);
}

/* FNV-1a, eight bytes at a time. */
static uint64_t hash(const uint64_t *words)
{
    uint64_t hash = 0xcbf29ce484222325ull;
    for (int i = 0; i < PAGE / 8; i++)
        hash = (hash ^ words[i]) * 0x100000001b3ull;
    return hash;
}

/* Calls `each` for the numbered folders in `path`. */
static void numbered(const char *path, void (*each)(unsigned, unsigned), unsigned with)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    while (dir && (entry = readdir(dir)))
        if (isdigit((unsigned char)entry->d_name[0]))
            each((unsigned)atoi(entry->d_name), with);
    if (dir)
        closedir(dir);
}

#define PATH(...)          \
    char path[96];         \
    snprintf(path, sizeof path, __VA_ARGS__)

/* Pages that a process has in memory: address and hash; or those that are swapped:
 * address, device and place there. */
static void tell_range(int is_swap, int mem, int pagemap, uint64_t start, uint64_t end)
{
    static uint64_t entries[BATCH], page[PAGE / 8];
    for (uint64_t at = start; at < end; at += BATCH * PAGE) {
        ssize_t count = pread(pagemap, entries, sizeof entries, (off_t)(at / PAGE * 8));
        for (ssize_t i = 0; i < count / 8 && at + i * PAGE < end; i++) {
            unsigned long long address = at + i * PAGE, entry = entries[i];
            if (is_swap && entry >> 62 == 1)
                add("%llx %llu %llx\n", address, entry & 31, entry >> 5 & 0x3ffffffffffffull);
            else if (!is_swap && entry >> 63 && pread(mem, page, PAGE, (off_t)address) == PAGE)
                add("%llx %016llx\n", address, (unsigned long long)hash(page));
        }
    }
}

/* Pages of what holds the memory in short supply are not looked at. */
static int is_eater(unsigned pid)
{
    char comm[32] = "";
    PATH("/proc/%u/comm", pid);
    FILE *file = fopen(path, "r");
    if (!file)
        return 1;
    int is = fgets(comm, sizeof comm, file) && !strcmp(comm, "eater\n");
    fclose(file);
    return is;
}

static void memory_of(unsigned pid, unsigned is_swap)
{
    static char maps[4 << 20];
    if (is_eater(pid) || pid == (unsigned)getpid())
        return;
    PATH("/proc/%u/maps", pid);
    FILE *file = fopen(path, "r");
    snprintf(path, sizeof path, "/proc/%u/mem", pid);
    int mem = open(path, O_RDONLY);
    snprintf(path, sizeof path, "/proc/%u/pagemap", pid);
    int pagemap = open(path, O_RDONLY);
    if (file && mem >= 0 && pagemap >= 0) {
        maps[fread(maps, 1, sizeof maps - 1, file)] = 0;
        for (char *line = strtok(maps, "\n"); line; line = strtok(0, "\n")) {
            unsigned long long start, end;
            /* Of vvar and vsyscall nobody but the process may read; what is only
             * reserved may be terabytes. */
            if (sscanf(line, "%llx-%llx", &start, &end) == 2 && !strstr(line, "[v") &&
                !strstr(line, " ---p "))
                tell_range((int)is_swap, mem, pagemap, start, end);
        }
    }
    if (used)
        say("%s %u", is_swap ? "swapped" : "mem", pid);
    if (file)
        fclose(file);
    close(mem);
    close(pagemap);
}

static void maps_of(unsigned pid, unsigned with)
{
    (void)with;
    PATH("/proc/%u/maps", pid);
    if (add_file(path) > 0)
        say("maps %u", pid);
    used = 0;
}

static void auxv_of(unsigned pid, unsigned with)
{
    (void)with;
    PATH("/proc/%u/auxv", pid);
    if (add_file(path) > 0)
        say("auxv %u", pid);
    used = 0;
}

static void files_of(unsigned pid, unsigned with)
{
    char target[4096];
    (void)with;
    PATH("/proc/%u/exe", pid);
    ssize_t count = readlink(path, target, sizeof target - 1);
    if (count > 0)
        add("%u %.*s\n", pid, (int)(count < 900 ? count : 900), target);
}

/* A line `TID TEXT` of a small file of a thread. */
static const char *thread_file;

static void line_of(unsigned tid, unsigned pid)
{
    size_t start = used;
    PATH("/proc/%u/task/%u/%s", pid, tid, thread_file);
    add("%u ", tid);
    if (add_file(path) < 0)
        used = start;
    else if (buffer[used - 1] != '\n')
        add("\n");
}

static void stack_of(unsigned tid, unsigned pid)
{
    size_t start = used;
    PATH("/proc/%u/task/%u/stack", pid, tid);
    add("task %u\n", tid);
    if (add_file(path) < 0)
        used = start;
}

static void stat_of(unsigned tid, unsigned pid)
{
    size_t start = used;
    PATH("/proc/%u/task/%u/stat", pid, tid);
    add("%s ", path);
    if (add_file(path) < 0)
        used = start;
}

static void (*of_thread)(unsigned, unsigned);

static void threads_of(unsigned pid, unsigned with)
{
    (void)with;
    PATH("/proc/%u/task", pid);
    numbered(path, of_thread, pid);
}

static void tell_threads(const char *section, void (*each)(unsigned, unsigned), const char *file)
{
    thread_file = file;
    of_thread = each;
    numbered("/proc", threads_of, 0);
    say("%s", section);
}

static void process(unsigned pid, unsigned with)
{
    unsigned uid, euid, gid, egid;
    size_t start = used;
    (void)with;
    PATH("/proc/%u/status", pid);
    if (add_file(path) <= 0)
        return;
    reserve(1);
    buffer[used] = 0;
    sscanf(strstr(buffer + start, "\nUid:") + 5, "%u %u", &uid, &euid);
    sscanf(strstr(buffer + start, "\nGid:") + 5, "%u %u", &gid, &egid);
    used = start;
    snprintf(path, sizeof path, "/proc/%u/stat", pid);
    if (add_file(path) <= 0)
        return;
    reserve(1);
    buffer[used] = 0;
    char *field = strrchr(buffer + start, ')') + 1;
    for (int skipped = 0; skipped < 19; skipped++)
        field = strchr(field + 1, ' ');
    unsigned long long began = strtoull(field, 0, 10);
    used = start;
    add("%u %u %u %u %u %llu ", pid, uid, euid, gid, egid, began);
    snprintf(path, sizeof path, "/proc/%u/cmdline", pid);
    size_t at = used;
    ssize_t count = add_file(path);
    count = count > 0 ? count : 0;
    char *line = malloc((size_t)count + 1);
    memcpy(line, buffer + at, (size_t)count);
    used = at;
    for (ssize_t i = 0; i < count; i++)
        add("%02x", (unsigned char)line[i]);
    free(line);
    add("\n");
}

static void tell_time(void)
{
    add("%llu\n", (unsigned long long)time(0));
    add_file("/proc/uptime");
    size_t start = used;
    add_file("/proc/stat");
    reserve(1);
    buffer[used] = 0;
    char *line = strstr(buffer + start, "btime");
    size_t length = (size_t)(strchr(line, '\n') + 1 - line);
    memmove(buffer + start, line, length);
    used = start + length;
    say("time");
}

static void tell_log(void)
{
    reserve(2 << 20);
    int count = klogctl(3, buffer, 2 << 20);
    used = count > 0 ? (size_t)count : 0;
    say("dmesg");
}

static void tell_what_stays(void)
{
    say_file("version", "/proc/version");
    say_file("kallsyms", "/proc/kallsyms");
    say_file("cmdline", "/proc/cmdline");
    say_file("iomem", "/proc/iomem");
    say_file("mounts", "/proc/mounts");
    say_file("vmcoreinfo", "/sys/kernel/vmcoreinfo");
    say_file("programs", "/lab/programs");
    say_file("out mt", "/lab/out/mt");
    say_file("out t32", "/lab/out/t32");
    say_file("out swapped", "/lab/out/swapped");
    say_file("frames", "/lab/out/frames");
    say_file("tracing", "/sys/kernel/tracing/enabled_functions");
    say_file("kprobes", "/sys/kernel/tracing/kprobe_events");
}

int main(int argc, char **argv)
{
    int is_first = argc == 2 && !strcmp(argv[1], "before");
    if (ioperm(0xe9, 1, 1) != 0)
        return 1;
    if (is_first)
        tell_what_stays();
    numbered("/proc", memory_of, 0);
    numbered("/proc", memory_of, 1);
    numbered("/proc", maps_of, 0);
    numbered("/proc", auxv_of, 0);
    numbered("/proc", files_of, 0);
    say("exe");
    say_file("modules", "/proc/modules");
    say_file("swaps", "/proc/swaps");
    for (int i = 0; i < 4; i++) {
        PATH("/sys/block/zram%d/mm_stat", i);
        add_file(path);
    }
    say("zram");
    say_file("meminfo", "/proc/meminfo");
    tell_threads("stacks", stack_of, 0);
    tell_threads("syscall", line_of, "syscall");
    tell_threads("wchan", line_of, "wchan");
    tell_threads("comm", line_of, "comm");
    numbered("/proc", process, 0);
    say("procs");
    tell_log();
    tell_threads("stat", stat_of, 0);
    tell_time();
    say("end");
    return 0;
}

/* tell procs: a line for each process: number, real and effective user, real and
 * effective group, when it started (clock ticks), its command line in hex.
 * tell mem PID: a line for each page that a process has in memory: address and
 * hash. Pages that it has not touched are not brought in. */
#define _FILE_OFFSET_BITS 64
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGE 4096
#define BATCH 512

static ssize_t read_all(const char *pid, const char *file, char *to, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%s/%s", pid, file);
    int fd = open(path, O_RDONLY);
    if (fd < 0)
        return -1;
    ssize_t total = 0, count;
    while ((count = read(fd, to + total, size - 1 - total)) > 0)
        total += count;
    close(fd);
    to[total] = 0;
    return total;
}

static void tell_process(const char *pid)
{
    static char status[8192], stat[4096], line[4096];
    unsigned uid, euid, gid, egid;
    if (read_all(pid, "status", status, sizeof status) < 0 ||
        read_all(pid, "stat", stat, sizeof stat) < 0)
        return;
    sscanf(strstr(status, "\nUid:") + 5, "%u %u", &uid, &euid);
    sscanf(strstr(status, "\nGid:") + 5, "%u %u", &gid, &egid);
    char *field = strrchr(stat, ')') + 1;
    for (int skipped = 0; skipped < 19; skipped++)
        field = strchr(field + 1, ' ');
    printf("%s %u %u %u %u %llu ", pid, uid, euid, gid, egid, strtoull(field, 0, 10));
    ssize_t count = read_all(pid, "cmdline", line, sizeof line);
    for (ssize_t i = 0; i < count; i++)
        printf("%02x", (unsigned char)line[i]);
    printf("\n");
}

static int tell_processes(void)
{
    DIR *proc = opendir("/proc");
    struct dirent *entry;
    while (proc && (entry = readdir(proc)))
        if (isdigit((unsigned char)entry->d_name[0]))
            tell_process(entry->d_name);
    return 0;
}

/* FNV-1a, eight bytes at a time. */
static uint64_t hash(const uint64_t *words)
{
    uint64_t hash = 0xcbf29ce484222325ull;
    for (int i = 0; i < PAGE / 8; i++)
        hash = (hash ^ words[i]) * 0x100000001b3ull;
    return hash;
}

static void tell_range(int mem, int pagemap, uint64_t start, uint64_t end)
{
    static uint64_t entries[BATCH], page[PAGE / 8];
    for (uint64_t at = start; at < end; at += BATCH * PAGE) {
        ssize_t count = pread(pagemap, entries, sizeof entries, (off_t)(at / PAGE * 8));
        for (ssize_t i = 0; i < count / 8 && at + i * PAGE < end; i++) {
            uint64_t address = at + i * PAGE;
            if (entries[i] >> 63 && pread(mem, page, PAGE, (off_t)address) == PAGE)
                printf("%llx %016llx\n", (unsigned long long)address,
                       (unsigned long long)hash(page));
        }
    }
}

static int tell_memory(const char *pid)
{
    static char maps[1 << 18];
    char path[64];
    snprintf(path, sizeof path, "/proc/%s/mem", pid);
    int mem = open(path, O_RDONLY);
    snprintf(path, sizeof path, "/proc/%s/pagemap", pid);
    int pagemap = open(path, O_RDONLY);
    if (mem < 0 || pagemap < 0 || read_all(pid, "maps", maps, sizeof maps) < 0)
        return 1;
    for (char *line = strtok(maps, "\n"); line; line = strtok(0, "\n")) {
        unsigned long long start, end;
        sscanf(line, "%llx-%llx", &start, &end);
        /* Of vvar and vsyscall nobody but the process may read. */
        if (!strstr(line, "[v"))
            tell_range(mem, pagemap, start, end);
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && !strcmp(argv[1], "mem"))
        return tell_memory(argv[2]);
    return tell_processes();
}

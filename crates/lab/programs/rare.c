/* Mappings that few programs have: pages that were swapped out, of its own and of
 * shared memory, one page of a gibibyte, and files of an overlay. Needs a disk
 * that may be written to, the module overlay, and hugepagesz=1G hugepages=1. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE 4096ul
#define GIB (1ul << 30)
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void say(const char *name, const uint64_t *address, uint64_t value)
{
    printf("value %s 0x%lx 0x%llx\n", name, (unsigned long)address, (unsigned long long)value);
}

static uint64_t *map(size_t size, int flags, int fd)
{
    void *at = mmap(0, size, PROT_READ | PROT_WRITE, flags, fd, 0);
    if (at == MAP_FAILED)
        fail("mmap");
    return at;
}

static void fill(uint64_t *at, size_t pages, uint64_t value)
{
    for (size_t page = 0; page < pages; page++)
        at[page * PAGE / 8] = value + page;
}

/* How much of the mapping that starts here is in swap, by the kernel's own word. */
static size_t swapped_pages(const uint64_t *at)
{
    char line[256];
    unsigned long start, size;
    int is_it = 0;
    FILE *smaps = fopen("/proc/self/smaps", "r");
    while (smaps && fgets(line, sizeof line, smaps)) {
        if (sscanf(line, "%lx-%*x %*s", &start) == 1 && strchr(line, '-'))
            is_it = start == (unsigned long)at;
        if (is_it && sscanf(line, "Swap: %lu kB", &size) == 1) {
            fclose(smaps);
            return size * 1024 / PAGE;
        }
    }
    fail("smaps");
    return 0;
}

/* Moves the first pages of a mapping out. */
static void swap_out(const char *name, uint64_t *at, size_t pages)
{
    for (int tries = 0; tries < 20 && swapped_pages(at) < pages; tries++) {
        madvise(at, pages * PAGE, MADV_PAGEOUT);
        usleep(200000);
    }
    printf("range %s 0x%lx 0x%lx %zu\n", name, (unsigned long)at,
           (unsigned long)at + pages * PAGE, swapped_pages(at));
}

static void swapped(void)
{
    if (system("mkswap /dev/nvme0n1 > /dev/null && swapon /dev/nvme0n1") != 0)
        fail("swapon");
    uint64_t *own = map(32 * PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    fill(own, 32, 0x5a9b0000);
    swap_out("private", own, 16);
    say("kept", own + 20 * PAGE / 8, 0x5a9b0000 + 20);

    uint64_t *shared = map(24 * PAGE, MAP_SHARED | MAP_ANONYMOUS, -1);
    fill(shared, 16, 0x5a9b5000);
    swap_out("shared", shared, 8);
    say("shared_kept", shared + 9 * PAGE / 8, 0x5a9b5009);
}

/* A file of one page. `tell` would hash it for a minute, but leaves out what is
 * called [v. */
static void gibibyte(void)
{
    mkdir("/tmp/[v", 0700);
    if (mount("none", "/tmp/[v", "hugetlbfs", 0, "pagesize=1G") != 0)
        fail("hugetlbfs");
    uint64_t *at = map(GIB, MAP_SHARED, open("/tmp/[v/gibibyte", O_RDWR | O_CREAT, 0600));
    for (int part = 0; part < 8; part++) {
        char name[16];
        uint64_t *word = at + (part * (GIB / 8) + part * 4096ul * 77 + 8 * part) / 8;
        *word = 0x61b0000 + part;
        snprintf(name, sizeof name, "gibibyte%d", part);
        say(name, word, *word);
    }
}

static void write_file(const char *path, size_t pages, uint64_t value)
{
    static uint64_t page[PAGE / 8];
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    for (size_t i = 0; i < pages; i++) {
        page[0] = value + i;
        if (write(fd, page, PAGE) != (ssize_t)PAGE)
            fail(path);
    }
    close(fd);
}

static void overlay(void)
{
    for (const char *const *dir = (const char *const[]){"/tmp/lower", "/tmp/upper", "/tmp/work",
                                                        "/tmp/merged", 0};
         *dir; dir++)
        mkdir(*dir, 0700);
    write_file("/tmp/lower/below", 6, 0x10e30000);
    if (mount("overlay", "/tmp/merged", "overlay", 0,
              "lowerdir=/tmp/lower,upperdir=/tmp/upper,workdir=/tmp/work") != 0)
        fail("overlay");

    /* Its pages are those of the file below; only one is looked at. */
    uint64_t *below = map(6 * PAGE, MAP_PRIVATE, open("/tmp/merged/below", O_RDONLY));
    volatile uint64_t seen = below[PAGE / 8];
    (void)seen;
    say("below", below + PAGE / 8, 0x10e30001);
    say("below_untouched", below + 4 * PAGE / 8, 0x10e30004);
    below[2 * PAGE / 8] = 0xc0b1ed;
    say("below_copied", below + 2 * PAGE / 8, 0xc0b1ed);

    write_file("/tmp/merged/above", 4, 0xab00e0000);
    uint64_t *above = map(4 * PAGE, MAP_SHARED, open("/tmp/merged/above", O_RDWR));
    above[PAGE / 8] = 0xab00e1111;
    say("above", above + PAGE / 8, 0xab00e1111);
    say("above_untouched", above + 3 * PAGE / 8, 0xab00e0003);
}

int main(void)
{
    swapped();
    gibibyte();
    overlay();
    printf("up\n");
    fflush(stdout);
    for (;;)
        pause();
}

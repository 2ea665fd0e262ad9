/* Memory that is written once and never touched again, to be swapped: pages of
 * five kinds, private ones and a memfd's. Says the hash of each page. */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096
#define PRIVATE (48ul << 20)
#define SHARED (4ul << 20)

static const char *const WORDS[] = {
    "error ", "connection ", "from ", "10.0.0.", "user=", "closed ", "port ", "\n",
    "GET /index.html ", "200 ", "timeout ", "kernel: ", "started ", "session ", "0x", "of ",
};

static uint64_t state = 0x9e3779b97f4a7c15ull;

static uint64_t next(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

static void text(char *page)
{
    size_t at = 0;
    while (at < PAGE) {
        const char *word = WORDS[next() % 16];
        size_t count = strlen(word) < PAGE - at ? strlen(word) : PAGE - at;
        memcpy(page + at, word, count);
        at += count;
    }
}

static void noise(uint64_t *words, int count)
{
    for (int i = 0; i < count; i++)
        words[i] = next();
}

/* FNV-1a, eight bytes at a time. */
static uint64_t hash(const uint64_t *words)
{
    uint64_t hash = 0xcbf29ce484222325ull;
    for (int i = 0; i < PAGE / 8; i++)
        hash = (hash ^ words[i]) * 0x100000001b3ull;
    return hash;
}

static void fill(char *page, int kind)
{
    uint64_t *words = (uint64_t *)page;
    if (kind == 0) {
        text(page);
    } else if (kind == 1) {
        noise(words, PAGE / 8);
    } else if (kind == 2) {
        uint64_t word = next();
        for (int i = 0; i < PAGE / 8; i++)
            words[i] = word;
    } else if (kind == 3) {
        noise(words, PAGE / 16);
    } else {
        /* Long runs of zeroes with a few bytes between. */
        for (int i = 0; i < 6; i++)
            page[next() % PAGE] = (char)next();
    }
}

static void fill_all(char *memory, size_t size)
{
    madvise(memory, size, MADV_NOHUGEPAGE);
    for (size_t at = 0; at < size; at += PAGE) {
        fill(memory + at, (int)(at / PAGE % 5));
        printf("page %lx %016llx\n", (unsigned long)(memory + at),
               (unsigned long long)hash((uint64_t *)(memory + at)));
    }
}

int main(void)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS, fd = memfd_create("swapped", 0);
    char *own = mmap(0, PRIVATE, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (own == MAP_FAILED || fd < 0 || ftruncate(fd, SHARED) != 0)
        return 1;
    fill_all(own, PRIVATE);
    fill_all(mmap(0, SHARED, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), SHARED);
    printf("up\n");
    fflush(stdout);
    for (;;)
        pause();
}

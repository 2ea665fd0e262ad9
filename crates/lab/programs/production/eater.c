/* eater KIB: takes memory away until no more than this is left of swap, and holds
 * it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MIB (1ul << 20)

static long swap_left(void)
{
    long kib = 0;
    char line[128];
    FILE *file = fopen("/proc/meminfo", "r");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "SwapFree: %ld", &kib) == 1)
            break;
    if (file)
        fclose(file);
    return kib;
}

int main(int argc, char **argv)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS;
    long limit = argc == 2 ? atol(argv[1]) : 0;
    /* Slowly, so that others are swapped rather than killed. */
    while (swap_left() > limit) {
        char *memory = mmap(0, MIB, PROT_READ | PROT_WRITE, flags, -1, 0);
        if (memory == MAP_FAILED || mlock(memory, MIB) != 0)
            break;
        memset(memory, 0xea, MIB);
        usleep(2000);
    }
    printf("up\n");
    fflush(stdout);
    for (;;)
        pause();
}

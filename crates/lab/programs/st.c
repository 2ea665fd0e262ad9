/* A static program, asleep four calls deep with a known local in each. */
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

uint64_t lab_static_value = 0x57a71c57a71c57a7ull;

static int descend(int depth)
{
    volatile uint32_t local = 0x57000000u + (uint32_t)depth;
    if (depth < 4)
        return descend(depth + 1) + (int)local;
    while (lab_static_value != 0)
        pause();
    return (int)local;
}

int main(void)
{
    printf("value lab_static_value 0x%lx 0x%llx\n", (unsigned long)&lab_static_value,
           (unsigned long long)lab_static_value);
    printf("up\n");
    fflush(stdout);
    return descend(0);
}

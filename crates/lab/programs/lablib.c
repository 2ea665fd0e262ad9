/* The shared library of mt: a frame of its own in every sleeping stack. */
#include "lablib.h"

#include <time.h>

uint64_t lab_library_value = LIBRARY_VALUE;

long lab_sleep_deep(int depth, uint64_t seed)
{
    volatile uint64_t local = seed + depth;
    if (depth > 0)
        return lab_sleep_deep(depth - 1, seed) + (long)local;
    while (lab_library_value != 0) {
        struct timespec day = { .tv_sec = 86400 };
        nanosleep(&day, 0);
    }
    return (long)local;
}

/* Values that tests look for in a stopped guest. */
#ifndef LABLIB_H
#define LABLIB_H

#include <stdint.h>

#define LIBRARY_VALUE 0x11b0a1b2c3d4e5f6ull
#define MAIN_VALUE 0x3a1e5a1ad0ddba11ull
#define HEAP_VALUE 0x4ea90000c0ffee00ull

/* In the shared library. */
extern uint64_t lab_library_value;
long lab_sleep_deep(int depth, uint64_t seed);

#endif

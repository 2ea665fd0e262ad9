/* A 32-bit program of two threads: one asleep, one waiting for it. */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

uint32_t lab_t32_value = 0x32b17532u;

static void *sleeper(void *unused)
{
    struct timespec day = { .tv_sec = 86400 };
    for (;;)
        nanosleep(&day, 0);
    return unused;
}

int main(void)
{
    pthread_t thread;
    pthread_create(&thread, 0, sleeper, 0);
    printf("value lab_t32_value 0x%lx 0x%lx\n", (unsigned long)&lab_t32_value,
           (unsigned long)lab_t32_value);
    printf("up\n");
    fflush(stdout);
    pthread_join(thread, 0);
    return 0;
}

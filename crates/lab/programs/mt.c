/* A dynamic, position independent program with four threads, each in a state
 * that a test can name: waiting for a thread, asleep in a library, waiting on a
 * condition, and running with known values in its registers. */
#define _GNU_SOURCE
#include "lablib.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PATTERN_WORDS 8192

uint64_t lab_main_value = MAIN_VALUE;
__thread uint64_t lab_thread_value;

static pthread_barrier_t started;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t never = PTHREAD_COND_INITIALIZER;

static void say_thread(const char *name, uint64_t value)
{
    pthread_setname_np(pthread_self(), name);
    lab_thread_value = value;
    printf("thread %s %ld tls=0x%lx value=0x%llx\n", name, syscall(SYS_gettid),
           (unsigned long)&lab_thread_value, (unsigned long long)value);
    fflush(stdout);
    pthread_barrier_wait(&started);
}

static void *sleeper(void *unused)
{
    say_thread("mt-sleeper", 0x51ee9e5);
    return (void *)lab_sleep_deep(3, 0x5eed0000);
}

static void *waiter(void *unused)
{
    say_thread("mt-waiter", 0x3a17e5);
    pthread_mutex_lock(&mutex);
    for (;;)
        pthread_cond_wait(&never, &mutex);
    return unused;
}

static void *spinner(void *unused)
{
    say_thread("mt-spinner", 0x591221e5);
#ifdef __x86_64__
    __asm__ volatile("movabs $0x1212121212121212, %%r12\n\t"
                     "movabs $0x1313131313131313, %%r13\n\t"
                     "movabs $0x1414141414141414, %%r14\n\t"
                     "movabs $0x1515151515151515, %%r15\n\t"
                     "movq %%r12, %%xmm6\n\t"
                     "movq %%r13, %%xmm7\n\t"
                     ".globl lab_spin\n"
                     "lab_spin:\n\t"
                     "jmp lab_spin" ::: "r12", "r13", "r14", "r15", "memory");
#else
    __asm__ volatile("movl $0x51515151, %%esi\n\t"
                     "movl $0xd1d1d1d1, %%edi\n\t"
                     ".globl lab_spin\n"
                     "lab_spin:\n\t"
                     "jmp lab_spin" ::: "esi", "edi", "memory");
#endif
    return unused;
}

static void say_value(const char *name, const void *address, uint64_t value)
{
    printf("value %s 0x%lx 0x%llx\n", name, (unsigned long)address, (unsigned long long)value);
}

static void say_pattern(void)
{
    uint64_t *words = mmap(0, PATTERN_WORDS * 8, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (uint64_t i = 0; i < PATTERN_WORDS; i++)
        words[i] = i * 0x9e3779b97f4a7c15ull;
    printf("pattern 0x%lx %d 0x9e3779b97f4a7c15\n", (unsigned long)words, PATTERN_WORDS);
}

int main(void)
{
    pthread_t threads[3];
    uint64_t *heap = malloc(64);
    *heap = HEAP_VALUE;
    say_value("lab_main_value", &lab_main_value, lab_main_value);
    say_value("lab_library_value", &lab_library_value, lab_library_value);
    say_value("heap", heap, *heap);
    say_pattern();
    pthread_barrier_init(&started, 0, 4);
    pthread_create(&threads[0], 0, sleeper, 0);
    pthread_create(&threads[1], 0, waiter, 0);
    pthread_create(&threads[2], 0, spinner, 0);
    say_thread("mt", 0x3a11e5);
    printf("up\n");
    fflush(stdout);
    pthread_join(threads[0], 0);
    return 0;
}

/* Runs with known values in the x87 and vector registers, on the last processor.
 * Needs AVX. Byte j of ymm i is 16 * i + j; st0 to st2 are pi, 1 and log2(e). */
#define _GNU_SOURCE
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

static uint8_t values[16][32];
static const uint32_t mxcsr = 0x9fa1;
static const uint16_t control = 0x27f;

int main(void)
{
    cpu_set_t last;
    CPU_ZERO(&last);
    CPU_SET(sysconf(_SC_NPROCESSORS_ONLN) - 1, &last);
    if (sched_setaffinity(0, sizeof last, &last) != 0)
        perror("sched_setaffinity");
    for (int i = 0; i < 16; i++)
        for (int j = 0; j < 32; j++)
            values[i][j] = (uint8_t)(16 * i + j);
    printf("up\n");
    fflush(stdout);
    __asm__ volatile("ldmxcsr %1\n\t"
                     "fninit\n\t"
                     "fldcw %2\n\t"
                     "fldl2e\n\t"
                     "fld1\n\t"
                     "fldpi\n\t"
                     "vmovdqu 0(%0), %%ymm0\n\t"
                     "vmovdqu 32(%0), %%ymm1\n\t"
                     "vmovdqu 64(%0), %%ymm2\n\t"
                     "vmovdqu 96(%0), %%ymm3\n\t"
                     "vmovdqu 128(%0), %%ymm4\n\t"
                     "vmovdqu 160(%0), %%ymm5\n\t"
                     "vmovdqu 192(%0), %%ymm6\n\t"
                     "vmovdqu 224(%0), %%ymm7\n\t"
                     "vmovdqu 256(%0), %%ymm8\n\t"
                     "vmovdqu 288(%0), %%ymm9\n\t"
                     "vmovdqu 320(%0), %%ymm10\n\t"
                     "vmovdqu 352(%0), %%ymm11\n\t"
                     "vmovdqu 384(%0), %%ymm12\n\t"
                     "vmovdqu 416(%0), %%ymm13\n\t"
                     "vmovdqu 448(%0), %%ymm14\n\t"
                     "vmovdqu 480(%0), %%ymm15\n\t"
                     ".globl vectors_spin\n"
                     "vectors_spin:\n\t"
                     "jmp vectors_spin"
                     :
                     : "r"(values), "m"(mxcsr), "m"(control)
                     : "memory");
    return 0;
}

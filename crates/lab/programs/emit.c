/* emit NAME FILE: sends a file out through QEMU's debug console, I/O port 0xe9,
 * preceded by a line that gives its name and length. Far faster than a serial
 * port, and nothing on the way changes a byte. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/io.h>

static void out(const char *bytes, size_t count)
{
    __asm__ volatile("rep outsb" : "+S"(bytes), "+c"(count) : "d"(0xe9) : "memory");
}

int main(int argc, char **argv)
{
    static char content[32 << 20];
    char head[128];
    FILE *file = argc == 3 ? fopen(argv[2], "r") : 0;
    if (!file || ioperm(0xe9, 1, 1) != 0)
        return 1;
    size_t count = fread(content, 1, sizeof content, file);
    int length = snprintf(head, sizeof head, "=== %s %zu\n", argv[1], count);
    out(head, (size_t)length);
    out(content, count);
    out("\n", 1);
    return 0;
}

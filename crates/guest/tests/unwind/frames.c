// Functions of every kind of frame, compiled by gcc with its own .pdata.
// x86_64-w64-mingw32-gcc -O1 -fno-omit-frame-pointer is not used: gcc chooses.
typedef unsigned long long u64;
#define NOINLINE __attribute__((noinline, noclone))

NOINLINE u64 leaf(u64 a, u64 b) { return a * 3 + b; }

NOINLINE u64 saves(u64 a, u64 b, u64 c, u64 d) {
    u64 x = leaf(a, b), y = leaf(c, d), z = leaf(x, y);
    return leaf(a + b, c + d) + x * y + z;
}

NOINLINE u64 large(u64 a) {
    volatile u64 room[200];
    for (int i = 0; i < 3; i++) room[i * 60] = a + i;
    return saves(room[0], room[60], room[120], a) + room[60];
}

// A frame register: the stack pointer moves with the argument.
NOINLINE u64 variable(u64 n) {
    volatile unsigned char *room = __builtin_alloca(n);
    room[0] = (unsigned char)n;
    room[n - 1] = 7;
    return large(n) + room[0] + room[n - 1];
}

NOINLINE u64 vector(double a, u64 n) {
    double before = a * 1.5;
    u64 x = variable(n);
    return x + (u64)(before * a);
}

NOINLINE u64 tail(u64 a, u64 b) {
    u64 x = saves(a, b, 5, 6);
    return vector((double)x, b);
}

NOINLINE u64 recursive(u64 n) {
    if (n == 0) return tail(3, 64);
    return recursive(n - 1) + leaf(n, n);
}

u64 start(void) { return recursive(2) + leaf(1, 2); }


"""Runs a small image in an emulator and writes what it did, step by step.

python3 trace.py frames.exe > frames.trace

The emulator is Unicorn (PyPI), the image one that MinGW's gcc made of frames.c:
x86_64-w64-mingw32-gcc -O1 -ffreestanding -fno-builtin -mno-stack-arg-probe -nostdlib \\
    -Wl,-e,start -Wl,--image-base,0x140000000 -s -o frames.exe frames.c

A line for each instruction that is about to be executed: its address, registers
that changed, words of the stack that changed, and the return address that was
pushed by a call (`c`) or taken by a return (`r`) since the line before.
"""
import struct
import sys

from unicorn import UC_ARCH_X86, UC_HOOK_CODE, UC_HOOK_MEM_WRITE, UC_MODE_64, Uc
from unicorn import x86_const as x86

BASE, STACK, STACK_LEN, STOP = 0x140000000, 0x140200000, 0x4000, 0x140010000
# The emulator has no page tables for the upper half, where kernels are: addresses
# are written as if it had.
HIGH = 0xFFFFF80000400000 - BASE
NAMES = "RAX RCX RDX RBX RSP RBP RSI RDI R8 R9 R10 R11 R12 R13 R14 R15".split()
REGS = [getattr(x86, "UC_X86_REG_" + name) for name in NAMES]

pe = open(sys.argv[1], "rb").read()
at = struct.unpack_from("<I", pe, 0x3C)[0]
count, = struct.unpack_from("<H", pe, at + 6)
optional, = struct.unpack_from("<H", pe, at + 20)
entry, = struct.unpack_from("<I", pe, at + 40)
image = bytearray(0x8000)
image[:0x400] = pe[:0x400]
for index in range(count):
    section = at + 24 + optional + index * 40
    size, rva, raw_len, raw = struct.unpack_from("<IIII", pe, section + 8)
    image[rva : rva + min(size, raw_len)] = pe[raw : raw + min(size, raw_len)]

emu = Uc(UC_ARCH_X86, UC_MODE_64)
emu.mem_map(BASE, 0x20000)
emu.mem_write(BASE, bytes(image))
emu.mem_map(STACK, STACK_LEN)
top = STACK + STACK_LEN - 0x100
emu.mem_write(top, struct.pack("<Q", STOP))
emu.reg_write(x86.UC_X86_REG_RSP, top)
for index, reg in enumerate(REGS):
    if NAMES[index] != "RSP":
        emu.reg_write(reg, 0x1111111111111111 * (index % 15 + 1))
state = {"regs": [None] * 16, "writes": [], "last": b"", "rsp": top}


def high(value):
    return value + HIGH if BASE <= value < BASE + 0x400000 else value


def write(_emu, _access, address, size, value, _data):
    first = address & ~7
    state["writes"] += [first] if address + size <= first + 8 else [first, first + 8]
    if size == 16:
        state["writes"] += [first + 8, first + 16]


def step(emu, address, size, _data):
    regs = [emu.reg_read(reg) for reg in REGS]
    out = ["%x" % high(address)]
    old = state["regs"]
    out += ["%x=%x" % (index, high(value)) for index, value in enumerate(regs) if old[index] != value]
    words = {}
    for place in state["writes"]:
        if STACK <= place < STACK + STACK_LEN:
            words[place], = struct.unpack("<Q", emu.mem_read(place, 8))
    out += ["%x:%x" % (high(pair[0]), high(pair[1])) for pair in words.items()]
    last = state["last"]
    if last[:1] == b"\xe8" or last[:1] == b"\xff" and last[1] >> 3 & 7 == 2:
        out.append("c%x" % high(struct.unpack("<Q", emu.mem_read(regs[4], 8))[0]))
    elif last[:1] == b"\xc3":
        out.append("r")
    print(" ".join(out))
    state.update(regs=regs, writes=[], last=bytes(emu.mem_read(address, size)))


emu.hook_add(UC_HOOK_CODE, step)
emu.hook_add(UC_HOOK_MEM_WRITE, write)
emu.emu_start(BASE + entry, STOP)

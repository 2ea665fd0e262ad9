"""In gdb: x87 and vector registers of every thread, a line each."""
import gdb

NAMES = ["mxcsr", "fctrl", "fstat", "ftag"]
NAMES += [f"st{index}" for index in range(8)]
NAMES += [f"{kind}{index}" for kind in ("xmm", "ymm") for index in range(16)]


def raw(name):
    """The bytes of a register as one number."""
    if name.startswith(("xmm", "ymm")):
        parts = 2 if name.startswith("xmm") else 4
        # gdb 13 makes no Python numbers of more than 64 bits.
        words = [gdb.parse_and_eval(f"${name}.v{parts}_int64[{part}]") for part in range(parts)]
        return f"{sum(int(word) % (1 << 64) << 64 * part for part, word in enumerate(words)):x}"
    words = gdb.execute(f"info registers {name}", to_string=True).split()
    if name.startswith("st"):
        # "st0  3.14159...  (raw 0x4000c90fdaa22168c235)"
        return words[-1].removeprefix("0x").removesuffix(")").lstrip("0") or "0"
    return words[1].removeprefix("0x")


def show(thread, name):
    try:
        print("register", thread, name, raw(name))
    except gdb.error:
        print("register", thread, name, "unavailable")


for thread in sorted(gdb.selected_inferior().threads(), key=lambda thread: thread.ptid[1]):
    thread.switch()
    for name in NAMES:
        show(thread.ptid[1], name)

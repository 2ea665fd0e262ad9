"""In gdb, after core-file: every register of every thread, a line each."""
import gdb

EXTRA = ["fs_base", "gs_base"] + [f"xmm{index}" for index in range(16)]


def value(name):
    if name.startswith("xmm"):
        # gdb 13 makes no Python numbers of more than 64 bits.
        low, high = (int(gdb.parse_and_eval(f"${name}.v2_int64[{part}]")) % (1 << 64) for part in (0, 1))
        return f"{high << 64 | low:x}"
    # "name  0xhex  the same in another form": also for flags, which are no number.
    return gdb.execute(f"info registers {name}", to_string=True).split()[1].removeprefix("0x")


def show(thread, name):
    try:
        print("register", thread, name, value(name))
    except gdb.error as error:
        # "Invalid register": a 32-bit core has fewer; others are not available.
        if "Invalid register" not in str(error):
            print("register", thread, name, "unavailable")


for thread in sorted(gdb.selected_inferior().threads(), key=lambda thread: thread.ptid[1]):
    thread.switch()
    architecture = gdb.selected_frame().architecture()
    for name in [str(register) for register in architecture.registers("general")] + EXTRA:
        show(thread.ptid[1], name)

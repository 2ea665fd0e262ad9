"""In gdb, connected to our server: where each thread is, a line each."""
import gdb


def frames():
    """Addresses of the functions on the stack that the compiler did not inline."""
    frame = gdb.newest_frame()
    while frame is not None and frame.is_valid():
        if frame.type() != gdb.INLINE_FRAME and frame.pc() != 0:
            yield f"{frame.pc():x}"
        frame = frame.older()


def register(name):
    return gdb.execute(f"info registers {name}", to_string=True).split()[1].removeprefix("0x")


for thread in sorted(gdb.selected_inferior().threads(), key=lambda thread: thread.ptid[1]):
    thread.switch()
    tid = thread.ptid[1]
    for name in ["cr0", "cr2", "cr3", "cr4", "idt_base", "gdt_base", "tr_base"]:
        print("register", tid, name, register(name))
    print("stack", tid, *frames())
    try:
        current = int(gdb.parse_and_eval("(unsigned long)current_task"))
        print("current", tid, f"{current:x}")
    except gdb.error as error:
        print("no current", tid, error)

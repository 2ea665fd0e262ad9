"""In gdb, connected to our server: number, name and stack of each thread."""
import gdb


def frames():
    """Addresses of the functions on the stack, without those that were inlined or have
    given their place to one that they called last."""
    frame = gdb.newest_frame()
    while frame is not None and frame.is_valid():
        if frame.type() not in (gdb.INLINE_FRAME, gdb.TAILCALL_FRAME) and frame.pc() != 0:
            yield f"{frame.pc():x}"
        frame = frame.older()


for thread in sorted(gdb.selected_inferior().threads(), key=lambda thread: thread.num):
    thread.switch()
    tid = thread.ptid[1]
    print("task", tid, (thread.name or "").encode().hex())
    sp = int(gdb.parse_and_eval("(unsigned long)$sp")) if gdb.newest_frame().pc() != 0 else 0
    print("top", tid, f"{gdb.newest_frame().pc():x} {sp:x}")
    print("stack", tid, *frames())

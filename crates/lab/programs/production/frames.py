# Says of each thread of the program that gdb is attached to what its frames are:
# stack pointer, program counter, function. The same script runs in the guest and
# where the guest's memory is looked at.
import gdb

LONGEST = 100


def frames():
    frame = gdb.newest_frame()
    for _ in range(LONGEST):
        if frame is None:
            return
        yield "%x %x %s" % (int(frame.read_register("sp")), frame.pc(), frame.name())
        try:
            frame = frame.older()
        except gdb.error:
            return


for thread in sorted(gdb.selected_inferior().threads(), key=lambda thread: thread.ptid[1]):
    thread.switch()
    print("thread", thread.ptid[1])
    for line in frames():
        print(line)

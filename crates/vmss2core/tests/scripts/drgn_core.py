"""drgn on a core without symbols: CORE; what it recognised, the bytes at the
addresses of the list SAMPLES."""
import os
import sys

import drgn

sys.path.insert(0, os.environ["SCRIPTS"])
import reads

prog = drgn.Program()
prog.set_core_dump(os.environ["CORE"])


def read(address, length):
    try:
        return prog.read(address, length)
    except drgn.FaultError:
        return None


print("flags", prog.flags)
if prog.flags & drgn.ProgramFlags.IS_LINUX_KERNEL:
    print("osrelease", prog["UTS_RELEASE"].string_().decode())
reads.check(read, os.environ["SAMPLES"])

"""In gdb, after core-file: the list named by SAMPLES."""
import os
import sys

import gdb

sys.path.insert(0, os.environ["SCRIPTS"])
import reads


def read(address, length):
    try:
        return bytes(gdb.selected_inferior().read_memory(address, length))
    except gdb.MemoryError:
        return None


reads.check(read, os.environ["SAMPLES"])

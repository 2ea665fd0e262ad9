"""In lldb, with a core: its registers, then the reads of the list SAMPLES."""
import os
import sys

import lldb

sys.path.insert(0, os.environ["SCRIPTS"])
import reads


def registers(process):
    for thread in process:
        for group in thread.frames[0].registers:
            for register in group:
                if register.value and register.value.startswith("0x"):
                    print("register", thread.id, register.name, register.value[2:])


def reader(process):
    def read(address, length):
        error = lldb.SBError()
        data = process.ReadMemory(address, length, error)
        return data if error.Success() and data is not None and len(data) == length else None

    return read


process = lldb.debugger.GetSelectedTarget().process
registers(process)
reads.check(reader(process), os.environ["SAMPLES"])

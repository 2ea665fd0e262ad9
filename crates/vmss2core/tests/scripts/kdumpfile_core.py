"""libkdumpfile on CORE: what it is, and the bytes at the addresses of SAMPLES."""
import os
import sys

from kdumpfile import KDUMP_KVADDR, kdumpfile
from kdumpfile.exceptions import KDumpBaseException

sys.path.insert(0, os.environ["SCRIPTS"])
import reads

core = kdumpfile(os.environ["CORE"])
core.attr["addrxlat.ostype"] = "linux"
for name in ("file.format", "arch.name", "linux.uts.release", "cpu.number"):
    print(name, core.attr.get(name))


def read(address, length):
    try:
        return bytes(core.read(KDUMP_KVADDR, address, length))
    except KDumpBaseException:
        return None


reads.check(read, os.environ["SAMPLES"])

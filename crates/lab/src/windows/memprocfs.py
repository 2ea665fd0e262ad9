"""Prints what MemProcFS finds in a memory image, as JSON.

Arguments: the file to open, and as "address,length" in hexadecimal the physical
ranges that are wanted of the crash dump that it makes of the image; as "to=PATH"
where to write that dump.
"""

import json
import sys

import memprocfs

HEADER = 0x2000


def dump_ranges(vmm, wanted):
    """Bytes of its dump, which has one run from address 0."""
    ranges = (tuple(int(number, 16) for number in one.split(",")) for one in wanted)
    read = vmm.vfs.read
    return [list(read("/memory.dmp", length, HEADER + start)) for start, length in ranges]


def write_dump(vmm, path):
    length = vmm.vfs.list("/")["memory.dmp"]["size"]
    with open(path, "wb") as out:
        for at in range(0, length, 1 << 20):
            out.write(vmm.vfs.read("/memory.dmp", min(1 << 20, length - at), at))


def modules(process):
    found = process.module_list() if process else []
    return [{"name": one.name, "base": one.base, "size": one.image_size} for one in found]


def main():
    path, *wanted = sys.argv[1:]
    device = "file://" + path
    options = ["-disable-symbolserver", "-disable-python", "-waitinitialize"]
    vmm = memprocfs.Vmm(["-device", device, *options])
    processes = [
        {"pid": one.pid, "parent": one.ppid, "name": one.name, "path": one.fullname,
         "address": one.eprocess, "root": one.dtb, "peb": one.peb}
        for one in vmm.process_list()
    ]
    for one in wanted:
        if one.startswith("to="):
            write_dump(vmm, one[3:])
    user = next((one for one in vmm.process_list() if one.name == "notepad.exe"), None)
    print(json.dumps({
        "build": vmm.kernel.build,
        "processes": processes,
        "modules": modules(vmm.process(4)),
        "user_modules": modules(user),
        "dump_ranges": dump_ranges(vmm, [one for one in wanted if "," in one]),
    }))


main()

"""libkdumpfile on CORE: every page of RANGES against the memory file MEMORY.

RANGES are lines of physical address, length and offset in the file.
"""
import os

from kdumpfile import KDUMP_MACHPHYSADDR, kdumpfile

PIECE = 1 << 20
PAGE = 4096

core = kdumpfile(os.environ["CORE"])
print("file.format", core.attr.get("file.format"))
pages = wrong = 0
with open(os.environ["MEMORY"], "rb") as memory, open(os.environ["RANGES"]) as ranges:
    for line in ranges:
        address, length, offset = (int(word) for word in line.split())
        memory.seek(offset)
        for at in range(address, address + length, PIECE):
            want = memory.read(min(PIECE, address + length - at))
            pages += len(want) // PAGE
            got = bytes(core.read(KDUMP_MACHPHYSADDR, at, len(want)))
            if got != want:
                bad = [n for n in range(0, len(want), PAGE) if got[n : n + PAGE] != want[n : n + PAGE]]
                wrong += len(bad)
                print(f"at {at + bad[0]:#x}: {len(bad)} pages differ")
print(f"{pages} reads, {wrong} wrong")

"""Opens dumps with kdmp-parser and compares every page with the machine's memory.

Reads from standard input one guest per line: the dump, the memory, and its
ranges and the changed ones as JSON. Prints what it saw, one JSON object a line.
"""

import json
import sys

import kdmp_parser

PAGE = 4096


def pages_of(dump, memory, ranges, changed):
    """Numbers of pages that are missing, that differ, and that were compared."""
    held = set(dump.pages.keys())
    total = sum(length for _, length, _ in ranges) // PAGE
    # Large guests are holes: a sample will do.
    stride = 61 if total > 100_000 else 1
    missing, differ, compared = [], [], 0
    for start, length, offset in ranges:
        for number, gpa in enumerate(range(start, start + length, PAGE)):
            if gpa not in held:
                missing.append(gpa)
                continue
            if number % stride:
                continue
            memory.seek(offset + number * PAGE)
            want = bytearray(memory.read(PAGE))
            seen = dump.read_physical_page(gpa)
            for first, last in changed.get(gpa, ()):
                want[first:last] = seen[first:last]
            compared += 1
            if want != seen:
                differ.append(gpa)
    return {"missing": len(missing), "differ": differ[:8], "compared": compared,
            "extra": len(held) - total + len(missing)}


def look(dump_path, memory_path, ranges, changed, probe):
    """What the reader says of the dump; `probe` is an address of the kernel."""
    dump = kdmp_parser.KernelDumpParser(dump_path)
    by_page = {}
    for start, end in changed:
        page = start & ~(PAGE - 1)
        by_page.setdefault(page, []).append((start - page, end - page))
    context, header = dump.context, dump.header
    with open(memory_path, "rb") as memory:
        pages = pages_of(dump, memory, ranges, by_page)
    page = dump.read_virtual_page(probe)
    kernel = page[probe % PAGE:][:64] if page else None
    return {
        "type": int(dump.type),
        "dtb": dump.directory_table_base,
        "rip": context.Rip,
        "rsp": context.Rsp,
        "rax": context.Rax,
        "cs": context.SegCs,
        "bugcheck": header.BugCheckCode,
        "probe": kernel.hex() if kernel else None,
        **pages,
    }


for line in sys.stdin:
    print(json.dumps(look(*json.loads(line))), flush=True)

"""Reads by address through a debugger, compared with a list of what must come.

Each line of the list: address, bytes asked for, and the bytes up to the first
address that is not mapped, in hexadecimal, or - if there are none.
"""


def samples(path):
    with open(path) as lines:
        for line in lines:
            address, asked, expected = line.split()
            expected = b"" if expected == "-" else bytes.fromhex(expected)
            yield int(address, 16), int(asked), expected


def is_right(read, address, asked, expected):
    # What cannot be read whole must be an error, never zeroes or other bytes.
    if len(expected) < asked and read(address, asked) is not None:
        return False
    return not expected or read(address, len(expected)) == expected


def check(read, path):
    """`read(address, length)` gives bytes, or None where it cannot."""
    total = wrong = 0
    for address, asked, expected in samples(path):
        total += 1
        if is_right(read, address, asked, expected):
            continue
        wrong += 1
        if wrong <= 10:
            got = read(address, asked)
            print(f"at {address:#x}: {asked} asked, expected {expected!r}, got {got!r}")
    print(f"{total} reads, {wrong} wrong")

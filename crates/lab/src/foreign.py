"""Streams the guest memory that a foreign reader finds in a checkpoint.

Arguments: volatility3 or leechcore, and the file to open.

Writes to stdout, for each range: address and length as little-endian 64-bit
numbers, then the bytes.
"""

import os
import struct
import sys

CHUNK = 1 << 20


def volatility3(path):
    from urllib.request import pathname2url

    from volatility3.framework import contexts
    from volatility3.framework.layers import physical, vmware

    stem = path.removesuffix(".vmem")
    state = next(stem + end for end in (".vmss", ".vmsn") if os.path.exists(stem + end))
    context = contexts.Context()
    for name, file in (("memory", path), ("state", state)):
        context.config[f"{name}.location"] = "file:" + pathname2url(file)
        context.layers.add_layer(physical.FileLayer(context, name, name))
    context.config["guest.base_layer"] = "memory"
    context.config["guest.meta_layer"] = "state"
    layer = vmware.VmwareLayer(context, "guest", "guest")
    whole = layer.mapping(0, layer.maximum_address + 1, ignore_errors=True)
    return [(start, length) for start, length, _, _, _ in whole], layer.read


def leechcore(path):
    import leechcorepyc

    device = leechcorepyc.LeechCore("file://" + path)
    return [(entry["base"], entry["size"]) for entry in device.memmap], device.read


def main():
    reader, path = sys.argv[1:]
    ranges, read = {"volatility3": volatility3, "leechcore": leechcore}[reader](path)
    out = sys.stdout.buffer
    for start, length in ranges:
        out.write(struct.pack("<QQ", start, length))
        for offset in range(0, length, CHUNK):
            out.write(read(start + offset, min(CHUNK, length - offset)))


main()

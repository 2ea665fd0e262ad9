"""Prints what foreign readers find in a Windows crash dump, as JSON.

Arguments: the dump, a folder with volatility 3's symbols (empty for none), how
many bits its addresses have, the plugins of volatility 3 to run.

`pages` holds for each reader the ranges of memory that it finds, as
[address, length, CRC of the bytes], or why it finds none.
"""

import contextlib
import io
import json
import pathlib
import sys
import zlib

CHUNK = 1 << 20

# kdmp-parser is asked for each page by itself.
MANY_PAGES = 1 << 18


def ranges(pieces):
    out = []
    for address, data in pieces:
        if out and out[-1][0] + out[-1][1] == address:
            last = out[-1]
            last[1] += len(data)
            last[2] = zlib.crc32(data, last[2])
        else:
            out.append([address, len(data), zlib.crc32(data)])
    return out


def chunks(start, length, read):
    for at in range(start, start + length, CHUNK):
        yield at, read(at, min(CHUNK, start + length - at))


def leechcore(path, bits):
    import leechcorepyc

    core = leechcorepyc.LeechCore("file://" + path)
    for one in core.memmap:
        yield from chunks(one["base"], one["size"], core.read)


def kdmp_parser(path, bits):
    import kdmp_parser as parser

    dump = parser.KernelDumpParser(pathlib.Path(path))
    if len(dump.pages) > MANY_PAGES:
        raise ValueError("too many pages")
    for address in sorted(dump.pages):
        yield address, bytes(dump.read_physical_page(address))


def volatility3(path, bits):
    from volatility3.framework import contexts
    from volatility3.framework.layers import crash, physical

    context = contexts.Context()
    context.config["base.location"] = "file://" + path
    context.layers.add_layer(physical.FileLayer(context, "base", "base"))
    context.config["dump.base_layer"] = "base"
    kind = crash.WindowsCrashDump64Layer if bits == 64 else crash.WindowsCrashDump32Layer
    layer = kind(context, "dump", "dump")
    segments = layer.mapping(0, layer.maximum_address + 1, ignore_errors=True)
    for start, length, *_ in segments:
        yield from chunks(start, length, layer.read)


def plugins(path, symbols, names):
    import volatility3.symbols
    from volatility3 import framework, plugins
    from volatility3.cli.text_renderer import JsonRenderer
    from volatility3.framework import automagic, constants, contexts
    from volatility3.framework.plugins import construct_plugin

    constants.OFFLINE = True
    constants.CACHE_PATH = symbols + "/cache"
    pathlib.Path(constants.CACHE_PATH).mkdir(exist_ok=True)
    volatility3.symbols.__path__ = [symbols] + constants.SYMBOL_BASEPATHS
    framework.import_files(plugins, True)
    found = {}
    for name in names:
        context = contexts.Context()
        available = automagic.available(context)
        context.config["automagic.LayerStacker.single_location"] = "file://" + path
        plugin = framework.list_plugins()[name]
        chosen = automagic.choose_automagic(available, plugin)
        text = io.StringIO()
        try:
            made = construct_plugin(context, chosen, plugin, "plugins", None, None)
            with contextlib.redirect_stdout(text):
                JsonRenderer().render(made.run())
            found[name] = json.loads(text.getvalue())
        except Exception as error:
            found[name] = type(error).__name__ + ": " + str(error)
    return found


def context(path):
    """Registers that the header holds."""
    import kdmp_parser as parser

    dump = parser.KernelDumpParser(pathlib.Path(path))
    names = [name for name in dir(dump.context) if name[0] != "_"]
    values = {name.lower(): getattr(dump.context, name) for name in names}
    return {name: value for name, value in values.items() if isinstance(value, int)}


def attempt(what, *arguments):
    try:
        found = what(*arguments)
        return found if isinstance(found, dict) else ranges(found)
    except Exception as error:
        return type(error).__name__ + ": " + str(error)


def main():
    path, symbols, bits, *names = sys.argv[1:]
    readers = [leechcore, kdmp_parser, volatility3]
    found = {
        "pages": {one.__name__: attempt(one, path, int(bits)) for one in readers},
        "context": attempt(context, path),
        "plugins": plugins(path, symbols, names) if symbols else {},
    }
    # leechcore writes to standard output, too.
    print("\n" + json.dumps(found))


main()

//! Every form of a command. They run in a directory `out` beside the checkpoint.

/// A command line, and what it is told on standard input.
pub(super) struct Form {
    pub(super) line: &'static str,
    pub(super) packets: &'static [&'static str],
    /// Whether it reads all memory.
    pub(super) reads_all: bool,
}

const fn form(line: &'static str) -> Form {
    Form { line, packets: &[], reads_all: false }
}

const fn whole(line: &'static str) -> Form {
    Form { reads_all: true, ..form(line) }
}

const fn asked(line: &'static str) -> Form {
    Form { packets: PACKETS, ..form(line) }
}

/// What a debugger asks first, and what can be asked besides.
const PACKETS: &[&str] = &[
    "qSupported:multiprocess+;xmlRegisters=i386",
    "?",
    "qXfer:features:read:target.xml:0,ffff",
    "qXfer:threads:read::0,ffff",
    "qXfer:osdata:read::0,ffff",
    "qXfer:osdata:read:processes:0,ffff",
    "qXfer:libraries:read::0,ffff",
    "qXfer:auxv:read::0,1000",
    "Hg1",
    "g",
    "mffffffff81000000,400",
    "qRcmd,7073",
    "qRcmd,6d6f6473",
    "qRcmd,6274",
    "qRcmd,646d657367",
    "qRcmd,6b61736c72",
    "qRcmd,696e666f",
    "qRcmd,72656773",
    "vAttach;1",
    "qXfer:threads:read::0,ffff",
    "qXfer:exec-file:read:1:0,1000",
    "qXfer:libraries-svr4:read::0,ffff",
    "qMemoryRegionInfo:0",
    "vFile:open:2f62696e2f62757379626f78,0,0",
    "vFile:pread:0,1000,0",
    "vFile:open:2f70726f632f312f6d617073,0,0",
    "vFile:pread:1,1000,0",
    "D",
];

pub(super) const LINUX: &[Form] = &[
    form("info ../vm.vmss"),
    form("info --json ../vm.vmss"),
    form("info --tags ../vm.vmss"),
    form("info --tag MemoryHotplug ../vm.vmss"),
    form("info .."),
    form("info ../vm.vmem"),
    whole("convert ../vm.vmss -o a -f elf"),
    whole("convert ../vm.vmss -o a -f elf-physical"),
    whole("convert ../vm.vmss -o a -f elf-linear --all-threads --gdb-script"),
    whole("convert ../vm.vmss -o a -f kdump"),
    whole("convert ../vm.vmss -o a -f elf-linear --vcpu 1 --no-dedup"),
    whole("convert ../vm.vmss -o a -f kdump -d 31"),
    whole("convert ../vm.vmss -o - -f kdump -d 1"),
    whole("convert ../vm.vmss -o a -f raw"),
    whole("../vm.vmss"),
    whole("-N6 ../vm.vmss"),
    whole("-M ../vm.vmss ../vm.vmem"),
    whole("-P1 ../vm.vmss"),
    whole("-P ../vm.vmss"),
    form("core --name mt --force ../vm.vmss"),
    form("core --pid 1 -o a ../vm.vmss"),
    form("core --pid 1 --zero-fill --json -o a ../vm.vmss"),
    form("ps ../vm.vmss"),
    form("ps --threads --json ../vm.vmss"),
    form("ps --tree ../vm.vmss"),
    form("maps --pid 1 ../vm.vmss"),
    form("maps --pid 1 --proc ../vm.vmss"),
    form("maps --pid 1 --json ../vm.vmss"),
    form("extract --pid 1 --exe ../vm.vmss"),
    form("extract --pid 1 --maps ../vm.vmss"),
    form("extract --pid 1 --maps --json -o a ../vm.vmss"),
    form("extract --pid 1 --file /etc/passwd -o a ../vm.vmss"),
    form("bt ../vm.vmss"),
    form("bt --cpu 1 ../vm.vmss"),
    form("bt --pid 1 ../vm.vmss"),
    form("bt -a ../vm.vmss"),
    form("bt -a --json ../vm.vmss"),
    form("crash-args ../vm.vmss"),
    form("crash-args --json ../vm.vmss"),
    form("vmcoreinfo ../vm.vmss"),
    form("symbols ../vm.vmss"),
    form("symbols ../vm.vmss init_task sys_*"),
    form("linuxoffsets ../vm.vmss"),
    form("linuxoffsets --print-layout ../vm.vmss"),
    form("btf ../vm.vmss -o a"),
    form("dmesg -T ../vm.vmss"),
    form("dmesg --json ../vm.vmss"),
    form("modules ../vm.vmss"),
    form("modules --proc ../vm.vmss"),
    form("modules --json ../vm.vmss"),
    form("symbols --json ../vm.vmss"),
    asked("gdb --stdio ../vm.vmss"),
    asked("gdb --stdio --tasks ../vm.vmss"),
    asked("gdb --stdio --pid 1 ../vm.vmss"),
];

pub(super) const WINDOWS: &[Form] = &[
    form("info ../vm.vmss"),
    form("info --json ../vm.vmss"),
    form("info ../vm.vmem"),
    whole("-W ../vm.vmss"),
    whole("-W8 ../vm.vmss"),
    whole("convert ../vm.vmss -o a -f windbg --runs guest"),
    whole("convert ../vm.vmss -o a -f windbg --sparse"),
    whole("convert ../vm.vmss -o a -f windbg-bitmap"),
    whole("convert ../vm.vmss -o a -f elf-linear"),
    form("ps ../vm.vmss"),
    form("ps --threads --json ../vm.vmss"),
    form("ps --tree ../vm.vmss"),
    form("modules ../vm.vmss"),
    form("bt ../vm.vmss"),
    form("bt -a ../vm.vmss"),
    form("bt -a --json ../vm.vmss"),
    asked("gdb --stdio ../vm.vmss"),
];

pub(super) const MACOS: &[Form] = &[
    form("info ../vm.vmss"),
    form("info --json ../vm.vmss"),
    form("info ../vm.vmem"),
    whole("convert ../vm.vmss -o a -f elf"),
    whole("convert ../vm.vmss -o a -f elf-linear"),
    form("modules ../vm.vmss"),
    form("modules --json ../vm.vmss"),
    form("bt ../vm.vmss"),
    asked("gdb --stdio ../vm.vmss"),
];

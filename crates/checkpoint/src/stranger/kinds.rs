//! Kinds of files and their signs: one entry a kind, in the order in which they are tried.
//!
//! Sources: the formats' own documents, and the files that the programs write which the
//! tests of this list run.

/// A kind of file that is no checkpoint, or none that can be read.
pub(super) struct Kind {
    /// Its signs; all of them must be there.
    pub(super) signs: &'static [Sign],
    /// Its name, after "it is".
    pub(super) name: &'static str,
    /// Advice; `{}` stands for the file as a word of a shell.
    pub(super) advice: &'static str,
}

/// A sign of a kind of files.
pub(super) enum Sign {
    /// These bytes at this offset.
    At(usize, &'static [u8]),
    /// These bytes this far before the end.
    BeforeEnd(u64, &'static [u8]),
    /// Text that begins with this, in any case, blanks aside.
    Begins(&'static str),
    /// These bytes anywhere in the first pages.
    Holds(&'static str),
    /// Nothing but text in the first pages.
    Text,
}

use Sign::{At, BeforeEnd, Begins, Holds, Text};

const fn kind(signs: &'static [Sign], name: &'static str, advice: &'static str) -> Kind {
    Kind { signs, name, advice }
}

const DISK: &str = "it holds a disk, not memory: name the .vmss, .vmsn or .vmem file";
const NOT_MEMORY: &str = "it holds no memory: name the .vmss, .vmsn or .vmem file";
const QEMU_RESTORE: &str = "start QEMU with the options it was saved under and -S -incoming \
    'exec:cat FILE', then \"dump-guest-memory memory.elf\" in its monitor writes a file for crash, \
    \"pmemsave 0 BYTES memory.raw\" one for this program";
const LIBVIRT: &str = "virsh save-image-dumpxml {} shows which; once it is restored with \
    --paused, virsh dump --memory-only DOMAIN memory.elf writes a file for crash";
const KDUMP: &str = "crash VMLINUX {} opens it as it is";
const WINDBG: &str = "WinDbg opens it as it is: windbg -z {}";
const VOLATILITY: &str = "volatility3 reads it as it is: vol -f {} banners.Banners";
const XEN: &str = "it has to be restored: xl restore -p {} does so without running it, then \
    xl dump-core DOMAIN memory.elf writes a file for crash";
const XEN_OTHER: &str =
    "restore it where it was saved, without running it, and dump its memory there";
const SPLIT_ARCHIVE: &str = "unpack it first: 7z x {}";

pub(super) static KINDS: &[Kind] = &[
    // Machines and memory that other programs saved.
    kind(&[At(0, b"QEVM")], "a machine that QEMU saved (migration stream)", QEMU_RESTORE),
    kind(&[At(0, b"LibvirtQemudSave")], "a machine that libvirt saved", LIBVIRT),
    kind(
        &[At(0, b"LibvirtQemudPart")],
        "a machine that libvirt began to save and did not finish",
        "save it again: virsh save DOMAIN FILE",
    ),
    kind(&[At(0, b"KDUMP   ")], "a kdump file already", KDUMP),
    kind(&[At(0, b"DISKDUMP")], "a diskdump file already", KDUMP),
    kind(
        &[At(0, b"makedumpfile\0\0\0\0")],
        "a flattened kdump file",
        "crash VMLINUX {} opens it as it is; makedumpfile -R vmcore < {} puts it in order for \
         readers that need that",
    ),
    kind(&[At(0, b"PAGEDU64")], "a crash dump of 64-bit Windows already", WINDBG),
    kind(&[At(0, b"PAGEDUMP")], "a crash dump of 32-bit Windows already", WINDBG),
    kind(&[At(0, b"MDMP")], "a minidump of one Windows program", WINDBG),
    kind(&[At(0, b"HIBR")], HIBERNATION, HIBERNATION_ADVICE),
    kind(&[At(0, b"hibr")], HIBERNATION, HIBERNATION_ADVICE),
    kind(&[At(0, b"WAKE")], HIBERNATION, HIBERNATION_ADVICE),
    kind(&[At(0, b"wake")], HIBERNATION, HIBERNATION_ADVICE),
    kind(&[At(0, b"EMiL\x01\0\0\0")], "memory in the LiME format", VOLATILITY),
    kind(&[At(0, b"AVML\x02\0\0\0")], "compressed memory in the AVML format", VOLATILITY),
    kind(
        &[At(0, b"\x7fVirtualBox SavedState V")],
        "a machine that VirtualBox saved",
        "once it runs again, VBoxManage debugvm MACHINE dumpvmcore --filename memory.elf writes \
         its memory",
    ),
    kind(
        &[At(0, b"\x14\x20\x28\x01")],
        "a file of Hyper-V, a saved state (.vmrs) or a configuration (.vmcx)",
        "only Microsoft's own vmsavedstatedumpprovider.dll reads a saved state's memory",
    ),
    kind(&[At(0, b"Xen saved domain, xl format")], "a machine that Xen saved", XEN),
    kind(&[At(0, b"XenSavedDomain\n")], "a machine that Xen saved", XEN_OTHER),
    kind(&[At(0, b"libvirt-xml\n \0 \r")], "a Xen machine that libvirt saved", XEN_OTHER),
    kind(
        &[At(0, b"\xcf\xfa\xed\xfe"), At(12, b"\x04\0\0\0")],
        "a Mach-O core already",
        "lldb opens it as it is: lldb -c {}",
    ),
    kind(
        &[At(0, b"\xcf\xfa\xed\xfe")],
        "a program or library of macOS",
        "name the .vmss, .vmsn or .vmem file",
    ),
    // Disks.
    kind(
        &[At(0, b"QFI\xfb")],
        "a disk of QEMU (qcow2)",
        "it holds a disk; snapshots in it may hold memory, which this program does not read: \
         qemu-img snapshot -l {} lists them",
    ),
    kind(&[At(0, b"QED\0")], "a disk of QEMU (QED)", DISK),
    kind(&[At(0, b"KDMV")], "a disk of VMware (sparse VMDK)", DISK),
    kind(&[At(0, b"COWD")], "a disk of VMware (COWD)", DISK),
    kind(&[At(0, b"\xbe\xba\xfe\xca\0\0\0\0")], "a disk of VMware (SESPARSE)", DISK),
    kind(&[Begins("# Disk DescriptorFile")], "the description of a VMware disk (VMDK)", DISK),
    kind(&[At(0x40, b"\x7f\x10\xda\xbe")], "a disk of VirtualBox (VDI)", DISK),
    kind(&[At(0, b"vhdxfile")], "a disk of Hyper-V (VHDX)", DISK),
    kind(&[At(0, b"conectix")], "a disk of Hyper-V (VHD)", DISK),
    kind(&[BeforeEnd(512, b"conectix")], "a disk of Hyper-V (VHD of fixed size)", DISK),
    kind(&[At(0, b"LUKS\xba\xbe")], "an encrypted disk (LUKS)", DISK),
    kind(&[At(510, b"\x55\xaa"), At(512, b"EFI PART")], "the contents of a disk (GPT)", DISK),
    kind(&[At(510, b"\x55\xaa"), At(3, b"NTFS    ")], "the contents of a disk (NTFS)", DISK),
    // Packed.
    kind(&[At(0, b"PK\x03\x04")], "a zip archive", "unpack it first: unzip {}"),
    kind(&[At(0, b"PK\x05\x06")], "an empty zip archive", NOT_MEMORY),
    kind(&[At(0, b"PK\x07\x08")], "one part of a split zip archive", SPLIT_ARCHIVE),
    kind(&[At(0, b"7z\xbc\xaf\x27\x1c")], "a 7z archive", SPLIT_ARCHIVE),
    kind(&[At(0, b"Rar!\x1a\x07")], "a rar archive", "unpack it first: unrar x {}"),
    kind(&[At(0, b"\xfd7zXZ\0")], "compressed with xz", "unpack it first: xz -dk {}"),
    kind(&[At(0, b"\x28\xb5\x2f\xfd")], "compressed with zstd", "unpack it first: zstd -d {}"),
    kind(&[At(0, b"\x04\x22\x4d\x18")], "compressed with lz4", "unpack it first: lz4 -dm {}"),
    kind(&[At(0, b"\x02\x21\x4c\x18")], "compressed with lz4", "unpack it first: lz4 -dm {}"),
    kind(
        &[At(0, b"BZh"), At(4, b"1AY&SY")],
        "compressed with bzip2",
        "unpack it first: bzip2 -dk {}",
    ),
    kind(&[At(0, b"\x89LZO\0\r\n\x1a\n")], "compressed with lzop", "unpack it first: lzop -d {}"),
    kind(&[At(0, b"LZIP\x01")], "compressed with lzip", "unpack it first: lzip -dk {}"),
    // Other files of VMware's machines.
    kind(&[At(0, b"MRVN")], "the firmware's variables (.nvram)", NOT_MEMORY),
    kind(&[Begins("<?xml"), Holds("<Foundry")], "an inventory entry (.vmxf)", NOT_MEMORY),
    kind(
        &[Begins("<?xml"), Holds("<Envelope")],
        "the description of an appliance (OVF)",
        NOT_MEMORY,
    ),
    kind(&[Text, Holds("Log for VMware")], "a log of VMware", NOT_MEMORY),
    // What downloads leave.
    kind(
        &[Begins("version https://git-lfs.github.com/spec/")],
        "a pointer of Git LFS, not the file itself",
        "fetch that: git lfs pull",
    ),
    kind(&[Begins("<!doctype html")], HTML, HTML_ADVICE),
    kind(&[Begins("<html")], HTML, HTML_ADVICE),
    kind(&[Begins("%PDF-")], "a PDF document", NOT_MEMORY),
    kind(&[At(0, b"\x89PNG\r\n\x1a\n")], "a picture (PNG)", NOT_MEMORY),
    kind(&[Text], "a text", NOT_MEMORY),
];

const HIBERNATION: &str = "Windows' hibernation file";
const HIBERNATION_ADVICE: &str = "its memory is compressed, and this program does not read it";
const HTML: &str = "a web page, as a download that failed leaves it";
const HTML_ADVICE: &str = "look at it in a browser, then fetch the file again";

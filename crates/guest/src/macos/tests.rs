//! Guests that the lab makes, whole and broken.

use std::fs::File;
use std::sync::Arc;

use vmss2core_lab::macos::{Fixture, Loaded, MiniMac, Root, make};
use vmss2core_machine::x86::DescriptorTable;
use vmss2core_machine::{Checkpoint, Registers, Vcpu, x86};
use vmss2core_mem::{Gpa, Gva, PhysicalMemory};

use super::macho::{Image, Start};
use super::{DarwinVersion, MacosFacts};
use crate::{Facts, analyse};

/// Memory of a guest with changes at physical addresses.
fn memory(guest: &MiniMac, changes: &[(u64, &[u8])]) -> PhysicalMemory {
    let mut ram = guest.machine.ram.clone();
    for (at, bytes) in changes {
        ram.patch(*at, bytes);
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    ram.write_to(file.path()).unwrap();
    let mut memory = PhysicalMemory::new();
    let file = Arc::new(File::open(file.path()).unwrap());
    memory.map(Gpa(0), guest.machine.len_bytes(), file, 0).unwrap();
    memory
}

fn vcpus(guest: &MiniMac) -> Vec<Vcpu> {
    let vcpu = |(index, cpu): (u32, &vmss2core_lab::vmware::Cpu)| {
        let mut x86 = x86::Registers { rip: Some(cpu.rip), ..x86::Registers::default() };
        let [cr0, _, _, cr3, cr4] = cpu.control.map(Some);
        (x86.control.cr0, x86.control.cr3, x86.control.cr4) = (cr0, cr3, cr4);
        x86.msrs.efer = cpu.msrs.efer;
        x86.msrs.lstar = cpu.msrs.lstar;
        x86.idtr = DescriptorTable { base: Some(cpu.idtr.base), ..DescriptorTable::default() };
        x86.segments.cs.selector = Some(cpu.segments[1].0);
        Vcpu { index, halted: None, registers: Registers::X86(Box::new(x86)) }
    };
    (0..).zip(&guest.machine.cpus).map(vcpu).collect()
}

fn facts_of(guest: &MiniMac, changes: &[(u64, &[u8])]) -> Facts {
    let memory = memory(guest, changes);
    analyse(&Checkpoint { memory, vcpus: vcpus(guest).into(), ..Checkpoint::default() })
}

fn found(facts: &Facts) -> &MacosFacts {
    assert_eq!(facts.system().unwrap().name(), "macOS", "{facts:?}");
    facts.macos().unwrap()
}

fn is_all_found(guest: &MiniMac, facts: &Facts) {
    let (macos, truth) = (found(facts), &guest.truth);
    assert_eq!(facts.problems, []);
    assert!(macos.is_64_bit);
    let version = &macos.version.as_ref().unwrap().value;
    assert_eq!(version.text, truth.version);
    assert_eq!((version.darwin, version.macos()), ([19, 6, 0], Some("10.15".to_owned())));
    assert_eq!(version.stext, Some(truth.base));
    assert_eq!(macos.build.as_ref().unwrap().value, truth.build);
    let image = &macos.image.as_ref().unwrap().value;
    assert_eq!((image.base, image.gpa), (Gva(truth.base), Gpa(truth.gpa)));
    assert_eq!(image.uuid.unwrap().to_string(), truth.uuid());
    assert_eq!(version.uuid, image.uuid);
    let names: Vec<&str> = image.segments.iter().map(|segment| segment.name.as_str()).collect();
    assert_eq!(names, ["__TEXT", "__DATA", "__KLD", "__LINKEDIT"]);
    assert_eq!(macos.slide.as_ref().unwrap().value, (truth.gpa - 0x20_0000) & !0x1f_ffff);
    let low = truth.symbols["lowGlo"] - truth.base + truth.gpa;
    assert_eq!(macos.low_globals.as_ref().unwrap().value, Gpa(low));
    let kexts = &macos.kexts.as_ref().unwrap().value;
    assert_eq!(kexts.torn, None);
    assert_eq!(kexts.kexts.len(), truth.kexts.len());
    for (kext, made) in kexts.kexts.iter().zip(&truth.kexts) {
        assert_eq!((kext.name.as_str(), kext.version.as_str()), (made.name, made.version));
        assert_eq!((kext.base.map_or(0, |base| base.0), kext.size_bytes), (made.base, made.size));
        assert_eq!(kext.uuid.map(|uuid| uuid.to_string()), made.uuid());
        assert_eq!(kext.info, Gva(made.info));
    }
}

#[test]
fn a_guest_is_found_whole_by_the_page_tables_of_a_process() {
    let guest = make(Fixture::default()).unwrap();
    let facts = facts_of(&guest, &[]);
    is_all_found(&guest, &facts);
    let root = found(&facts).kernel_root.as_ref().unwrap();
    assert_eq!(
        (root.value.1.0, root.how.as_str()),
        (Gpa(guest.truth.process_root), "page tables of vCPU 0")
    );
    assert!(facts.vcpus.iter().all(|vcpu| vcpu.kernel_root.is_none()));
}

#[test]
fn the_kernels_own_root_is_found_if_all_processors_are_on_those_of_programs() {
    let guest = make(Fixture { root: Root::Shadow, ..Fixture::default() }).unwrap();
    let facts = facts_of(&guest, &[]);
    is_all_found(&guest, &facts);
    let root = found(&facts).kernel_root.as_ref().unwrap().value.1;
    assert_eq!(root.0, Gpa(guest.truth.root));
    for vcpu in facts.vcpus.iter() {
        assert_eq!(vcpu.kernel_root.as_ref().unwrap().value, root);
    }
}

#[test]
fn a_kernel_that_was_not_moved_is_found() {
    let guest = make(Fixture { slide: 0, ..Fixture::default() }).unwrap();
    is_all_found(&guest, &facts_of(&guest, &[]));
}

#[test]
fn a_kernel_in_a_collection_is_found() {
    let guest = make(Fixture { loaded: Loaded::InCollection, ..Fixture::default() }).unwrap();
    let facts = facts_of(&guest, &[]);
    is_all_found(&guest, &facts);
    let image = found(&facts).image.as_ref().unwrap();
    assert_eq!(image.value.collection, Some(Gpa(guest.truth.gpa - 0x5000)));
    // Without the collection's header a processor in the kernel leads to it.
    let facts = facts_of(&guest, &[(guest.truth.gpa - 0x5000, &[0; 4])]);
    let macos = found(&facts);
    assert_eq!(macos.image.as_ref().unwrap().value.gpa, Gpa(guest.truth.gpa));
    assert!(macos.slide.is_none() && macos.kexts.is_some());
}

#[test]
fn a_panic_is_told_by_the_kernels_own_text() {
    let guest = make(Fixture::default()).unwrap();
    let at = guest.truth.gpa + 0x2400;
    // What it is made by, and the text of an old one in the page cache.
    let format = b"panic(cpu %d caller 0x%016llx): \0";
    let old = b"panic(cpu 7 caller 0xffffff8000111111): \"old\"\n";
    let facts = facts_of(&guest, &[(at, format), (0x51_0000, old)]);
    assert_eq!(found(&facts).panic, None);
    let text = b"panic(cpu 1 caller 0xffffff8001601234): \"a test\"@file.c:1\nBacktrace (CPU 1)\0";
    let facts = facts_of(&guest, &[(at, format), (at + 0x100, text)]);
    let said = &found(&facts).panic.as_ref().unwrap().value;
    assert_eq!(said, "panic(cpu 1 caller 0xffffff8001601234): \"a test\"@file.c:1");
}

#[test]
fn places_are_in_the_kernel_or_in_an_extension() {
    let guest = make(Fixture::default()).unwrap();
    let facts = facts_of(&guest, &[]);
    let macos = found(&facts);
    assert_eq!(macos.place(Gva(guest.truth.base + 0x1105)), Some(("mach_kernel", 0x1105)));
    let beta = guest.truth.kexts.first().unwrap();
    assert_eq!(macos.place(Gva(beta.base + 0x1000)), Some((beta.name, 0x1000)));
    assert_eq!(macos.place(Gva(beta.base + beta.size)), None);
    assert_eq!(macos.place(Gva(0)), None);
}

/// No page that is at the right place says so without the kernel's own header.
#[test]
fn a_copy_of_the_kernels_file_is_no_kernel() {
    let guest = make(Fixture::default()).unwrap();
    let facts = facts_of(&guest, &[(guest.truth.gpa, &[0; 4])]);
    assert!(facts.macos().is_none_or(|macos| macos.image.is_none()), "{facts:?}");
    // A processor is where only XNU has code: the rest was searched.
    let version = found(&facts).version.as_ref().unwrap();
    assert!(version.how.starts_with("text at physical"), "{version:?}");
    assert!(facts.problems.iter().any(|problem| problem.message.contains("image was not found")));
}

#[test]
fn without_a_hint_memory_is_not_searched() {
    let guest = make(Fixture { root: Root::Shadow, ..Fixture::default() }).unwrap();
    let facts = facts_of(&guest, &[(guest.truth.gpa, &[0; 4])]);
    assert!(facts.boot.is_none(), "{facts:?}");
}

#[test]
fn without_any_page_tables_the_image_is_told() {
    let guest = make(Fixture { root: Root::Shadow, ..Fixture::default() }).unwrap();
    let roots = [guest.truth.root, guest.truth.process_root];
    let changes = roots.map(|root| (root + 511 * 8, [0; 8]));
    let changes = changes.each_ref().map(|(at, bytes)| (*at, bytes.as_slice()));
    let facts = facts_of(&guest, &changes);
    let macos = found(&facts);
    assert!(macos.kernel_root.is_none() && macos.kexts.is_none());
    assert_eq!(macos.image.as_ref().unwrap().value.base, Gva(guest.truth.base));
    assert!(facts.problems.iter().any(|problem| problem.message.contains("no page tables")));
}

/// The text for debuggers says where the kernel is.
#[test]
fn a_kernel_whose_header_was_not_moved_along_is_found() {
    let guest = make(Fixture::default()).unwrap();
    let file = guest.truth.kernel.bytes(0);
    let facts = facts_of(&guest, &[(guest.truth.gpa, &file[..0x1000])]);
    is_all_found(&guest, &facts);
    assert!(found(&facts).image.as_ref().unwrap().how.contains("text names"));
    // That of another kernel does not.
    let mut file = file;
    let uuid = memchr::memmem::find(&file, &guest.truth.kernel.uuid).unwrap();
    file[uuid] ^= 1;
    let facts = facts_of(&guest, &[(guest.truth.gpa, &file[..0x1000])]);
    assert!(found(&facts).image.is_none());
}

/// Words of the kernel, its page tables and extensions are changed.
#[test]
fn no_change_of_a_guest_does_harm() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let values = [0, 1, u64::MAX, 1 << 63, 0xffff_ff80_0000_0000, 0x1_0000_0000, 0x160_0000];
    for root in [Root::Process, Root::Shadow] {
        let guest = make(Fixture { root, loaded: Loaded::InCollection, ..Fixture::default() });
        let guest = guest.unwrap();
        let mut pages: Vec<u64> = guest.truth.pages.values().copied().collect();
        pages.extend((0..20).map(|page| guest.truth.gpa - 0x5000 + page * 0x1000));
        for _ in 0..20 {
            let mut change = || {
                let page = pages[usize::try_from(next(pages.len() as u64)).unwrap()];
                // Headers and lists are at the front.
                let words = if next(3) == 0 { 0x200 } else { 0x20 };
                let at = next(words) * 8;
                let value = values[usize::try_from(next(values.len() as u64)).unwrap()];
                (page + at, value.wrapping_add(next(0x100)).to_le_bytes())
            };
            let changes: Vec<(u64, [u8; 8])> = (0..8).map(|_| change()).collect();
            let changes: Vec<(u64, &[u8])> =
                changes.iter().map(|(at, bytes)| (*at, bytes.as_slice())).collect();
            let facts = facts_of(&guest, &changes);
            if let Some(macos) = facts.macos() {
                assert!(macos.kexts.iter().all(|list| list.value.kexts.len() <= 4096));
            }
        }
    }
}

fn in_heap(guest: &MiniMac, va: u64) -> u64 {
    guest.truth.pages[&(va & !0xfff)] + (va & 0xfff)
}

#[test]
fn a_list_of_extensions_that_comes_back_to_itself_ends() {
    let guest = make(Fixture::default()).unwrap();
    let [first, second, ..] = guest.truth.kexts.as_slice() else { panic!("no extensions") };
    let back = first.info.to_le_bytes();
    let facts = facts_of(&guest, &[(in_heap(&guest, second.info), &back)]);
    let kexts = &found(&facts).kexts.as_ref().unwrap().value;
    assert_eq!(kexts.kexts.len(), 2);
    assert!(kexts.torn.as_ref().unwrap().contains("comes back"));
    assert!(facts.problems.iter().any(|problem| problem.message.contains("after 2")));
}

#[test]
fn a_list_of_extensions_that_leads_nowhere_is_told_as_far_as_it_goes() {
    let guest = make(Fixture::default()).unwrap();
    let first = guest.truth.kexts.first().unwrap();
    let facts = facts_of(&guest, &[(in_heap(&guest, first.info), &[0x11; 8])]);
    let kexts = &found(&facts).kexts.as_ref().unwrap().value;
    assert_eq!(kexts.kexts.len(), 1);
    assert!(kexts.torn.is_some());
}

#[test]
fn a_text_without_an_end_is_none() {
    let guest = make(Fixture::default()).unwrap();
    let at = guest.truth.gpa + 0x2100;
    let mut endless = b"Darwin Kernel Version 19.6.0: ".to_vec();
    endless.resize(0xf00, b'x');
    let facts = facts_of(&guest, &[(at, &endless)]);
    let version = found(&facts).version.as_ref().unwrap();
    // The constant text is left.
    assert_eq!(
        (version.value.text.as_str(), version.value.uuid),
        (guest.truth.version.as_str(), None)
    );
    for text in [
        "",
        "Darwin Kernel Version ",
        "Darwin Kernel Version 1.2: \0",
        "Darwin Kernel Version 99999999999.1.1: x\0",
    ] {
        assert_eq!(DarwinVersion::of(text.as_bytes()), None, "{text}");
    }
}

#[test]
fn load_commands_that_lie_are_read_as_far_as_they_are_sound() {
    let guest = make(Fixture::default()).unwrap();
    let file = guest.truth.kernel.bytes(0);
    // A command of no length, one longer than all, one that ends in the middle.
    for (at, len) in [(36, 0), (36, 4), (36, u32::MAX), (36, 0x400)] {
        let mut file = file.clone();
        file[at..at + 4].copy_from_slice(&u32::to_le_bytes(len));
        let start = Start::of(&file).unwrap();
        assert!(Image::of(start, &file).segments.len() < 2);
        let facts = facts_of(&guest, &[(guest.truth.gpa, &file)]);
        assert!(facts.macos().is_none_or(|macos| macos.image.is_none()));
    }
    // Commands that reach past the end of memory.
    let mut long = file[..28].to_vec();
    long[20..24].copy_from_slice(&0xfff0_u32.to_le_bytes());
    let last = guest.machine.len_bytes() - 0x1000;
    let facts = facts_of(&guest, &[(last, &long)]);
    is_all_found(&guest, &facts);
    long[20..24].copy_from_slice(&0x10_0001_u32.to_le_bytes());
    assert_eq!(Start::of(&long), None);
}

#[test]
fn segments_of_any_length_are_searched_in_bounded_time() {
    let guest = make(Fixture::default()).unwrap();
    // The length of __DATA, which is the second command.
    let at = guest.truth.gpa + 32 + 152 + 32;
    let facts = facts_of(&guest, &[(at, &u64::MAX.to_le_bytes())]);
    assert!(found(&facts).low_globals.is_some());
}

#[test]
fn memory_that_ends_in_the_kernel_is_no_harm() {
    let guest = make(Fixture::default()).unwrap();
    let mut memory = PhysicalMemory::new();
    let file = tempfile::NamedTempFile::new().unwrap();
    guest.machine.ram.write_to(file.path()).unwrap();
    let file = Arc::new(File::open(file.path()).unwrap());
    memory.map(Gpa(0), guest.truth.gpa + 0x1000, file, 0).unwrap();
    let facts =
        analyse(&Checkpoint { memory, vcpus: vcpus(&guest).into(), ..Checkpoint::default() });
    let macos = found(&facts);
    assert!(macos.image.is_some() && macos.low_globals.is_none() && macos.version.is_none());
    assert!(!facts.problems.is_empty());
}

#[test]
fn a_32_bit_kernel_is_named_and_no_more() {
    let mut header = vec![0_u8; 0x1000];
    let mut put = |at: usize, value: u32| header[at..at + 4].copy_from_slice(&value.to_le_bytes());
    for (at, value) in [(0, 0xfeed_face), (4, 7), (12, 2), (16, 2), (20, 112), (24, 1)] {
        put(at, value);
    }
    for (at, start) in [(28, 0x11_1000), (84, 0x20_0000)] {
        for (field, value) in [(0, 1), (4, 56), (24, start), (28, 0x1000)] {
            put(at + field, value);
        }
    }
    header[36..42].copy_from_slice(b"__TEXT");
    header[92..97].copy_from_slice(b"__KLD");
    header[0x800..].fill(0);
    let text = b"Darwin Kernel Version 9.8.0: a day; root:xnu-1228.15.4~1/RELEASE_I386\0";
    header[0x800..0x800 + text.len()].copy_from_slice(text);
    let mut memory = PhysicalMemory::new();
    let len = header.len() as u64;
    memory.map(Gpa(0x11_1000), len, Arc::new(header), 0).unwrap();
    let facts = analyse(&Checkpoint { memory, ..Checkpoint::default() });
    let macos = found(&facts);
    assert!(!macos.is_64_bit && macos.kernel_root.is_none());
    assert_eq!(macos.version.as_ref().unwrap().value.macos(), Some("10.5".to_owned()));
    assert!(facts.problems.iter().any(|problem| problem.message.contains("32-bit")));
}

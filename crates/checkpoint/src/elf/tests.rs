use super::*;
use crate::testing::source;

const NAMES: [(&str, u32); 6] = [
    ("VMCOREINFO", 0),
    ("VBCORE", 0xb00),
    ("QEMU", 0),
    ("Xen", 0x0200_0000),
    ("CORE", 6),
    ("CORE", 1),
];

/// Numbers as a class and byte order have them.
#[derive(Clone, Copy)]
struct Writer {
    wide: bool,
    big: bool,
}

impl Writer {
    fn number(self, value: u64, len: usize) -> Vec<u8> {
        let bytes = value.to_le_bytes();
        let bytes = &bytes[..len];
        if self.big { bytes.iter().rev().copied().collect() } else { bytes.to_vec() }
    }

    /// An ELF file with these notes.
    fn file(self, kind: u64, names: &[(&str, u32)]) -> Vec<u8> {
        let (word, head, segment) = if self.wide { (8, 64, 56) } else { (4, 52, 32) };
        let n = |value, len| self.number(value, len);
        let mut notes = Vec::new();
        for (name, kind) in names {
            notes.extend([n(name.len() as u64 + 1, 4), n(5, 4), n((*kind).into(), 4)].concat());
            notes.extend_from_slice(name.as_bytes());
            notes.push(0);
            notes.resize(notes.len().next_multiple_of(4), 0);
            notes.extend_from_slice(b"12345\0\0\0");
        }
        let mut file = b"\x7fELF".to_vec();
        file.extend([if self.wide { 2 } else { 1 }, if self.big { 2 } else { 1 }, 1]);
        file.resize(16, 0);
        file.extend([n(kind, 2), n(62, 2), n(1, 4), n(0, word), n(head, word)].concat());
        file.extend([n(0, word), n(0, 4), n(head, 2), n(segment, 2), n(1, 2)].concat());
        file.resize(usize::try_from(head).unwrap(), 0);
        let (at, len) = (head + segment, notes.len() as u64);
        let place = [n(at, word), n(0, word), n(0, word), n(len, word)].concat();
        file.extend(n(4, 4));
        file.extend(if self.wide { n(0, 4) } else { Vec::new() });
        file.extend(place);
        file.resize(usize::try_from(at).unwrap(), 0);
        file.extend(notes);
        file
    }
}

fn said(bytes: Vec<u8>) -> String {
    looks(&source("x y", bytes)).unwrap()
}

#[test]
fn cores_are_told_by_their_notes_in_every_class_and_order() {
    let words = [
        "of a Linux machine",
        "VirtualBox's",
        "QEMU's notes",
        "Xen's",
        "of one program",
        "unknown",
    ];
    for (wide, big) in [(true, false), (true, true), (false, false), (false, true)] {
        let writer = Writer { wide, big };
        for (first, word) in words.iter().enumerate() {
            let said = said(writer.file(Header::CORE, &NAMES[first..]));
            assert!(said.contains(word), "{word}: {said}");
        }
    }
}

#[test]
fn what_is_no_core_is_not_called_one() {
    let writer = Writer { wide: true, big: false };
    assert!(said(writer.file(3, &[])).contains("program or library"));
    assert!(said(writer.file(1, &[])).contains("kernel module"));
}

#[test]
fn broken_headers_are_no_reason_to_stop() {
    let whole = Writer { wide: true, big: false }.file(Header::CORE, &NAMES);
    for len in 4..whole.len() {
        said(whole[..len].to_vec());
        for byte in [0, 0x7f, 0xff] {
            let mut broken = whole.clone();
            broken[len] = byte;
            said(broken);
        }
    }
}

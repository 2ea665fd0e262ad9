use super::*;
use crate::ErrorKind;
use crate::testing::{put, source};

/// The refusal of a file of these bytes, named `my file`.
fn refusal(bytes: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = put(dir.path(), "my file", bytes);
    let error = crate::open(&[path], &crate::OpenOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotACheckpoint, "{error}");
    error.to_string()
}

/// A file with `magic` at an offset, and bytes that mean nothing around it.
fn with(offset: usize, magic: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xee; 1 << 16];
    bytes[offset..offset + magic.len()].copy_from_slice(magic);
    bytes
}

#[test]
fn every_kind_is_named_and_no_other() {
    for kind in KINDS {
        let mut bytes = match kind.signs {
            [Sign::At(..) | Sign::BeforeEnd(..), ..] => vec![0xee; 1 << 16],
            _ => Vec::new(),
        };
        for sign in kind.signs {
            match *sign {
                Sign::At(at, magic) => bytes[at..at + magic.len()].copy_from_slice(magic),
                Sign::BeforeEnd(len, magic) => {
                    let at = bytes.len() - usize::try_from(len).unwrap();
                    bytes[at..at + magic.len()].copy_from_slice(magic);
                }
                Sign::Begins(text) | Sign::Holds(text) => {
                    bytes.extend_from_slice(text.as_bytes());
                    bytes.push(b'\n');
                }
                Sign::Text => bytes.extend_from_slice("Grüße\n".as_bytes()),
            }
        }
        let said = refusal(&bytes);
        assert!(said.contains(&format!("it is {}; ", kind.name)), "{}: {said}", kind.name);
        assert!(!said.contains("{}"), "{said}");
    }
}

#[test]
fn commands_can_be_pasted() {
    let said = refusal(&with(0, b"PK\x03\x04"));
    assert!(said.contains("unzip '/") && said.ends_with("/my file'"), "{said}");
}

#[test]
fn text_is_text_in_any_language_and_blanks_before_a_page_do_not_hide_it() {
    assert!(is_text("línea\r\nzeile\u{1b}[0m".as_bytes()));
    assert!(is_text(&"ü\n".as_bytes()[..3]) && is_text(&[b"a\n", &"ü".as_bytes()[..1]].concat()));
    for bytes in [&b"no line"[..], b"a\nb\0", b"\x07\n", b"\xff\xfe\n"] {
        assert!(!is_text(bytes), "{bytes:?}");
    }
    assert!(refusal(b"\xef\xbb\xbf \r\n<!DOCTYPE HTML>\n<p>404").contains("a web page"));
}

#[test]
fn memory_of_a_guest_is_none_of_these() {
    let mut vectors: Vec<u8> = [0x53, 0xff, 0x00, 0xf0].repeat(256);
    vectors.resize(1 << 20, 0);
    for head in [vectors, vec![0; 8192], vec![0xff; 8192]] {
        assert_eq!(looks(&source("x.vmem", head)).unwrap(), None);
    }
}

use super::*;
use crate::testing::{source, tar};

fn listed(bytes: Vec<u8>) -> Folder {
    members(&source("a.tar", bytes)).unwrap()
}

fn content(entry: &Entry) -> Vec<u8> {
    entry.open("").unwrap().start(1 << 20).unwrap()
}

fn names(folder: &Folder) -> Vec<&str> {
    folder.entries.iter().map(|entry| entry.name.as_str()).collect()
}

/// A header by hand, for what the `tar` crate does not write.
fn raw_header(name: &str, kind: u8, size: &[u8], change: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[124..124 + size.len()].copy_from_slice(size);
    block[156] = kind;
    change(&mut block);
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

#[test]
fn members_are_windows_on_the_archive() {
    let folder = listed(tar(&[("a/one", b"1"), ("two", &[2; 1000]), ("empty", b"")]));
    assert_eq!(names(&folder), ["a/one", "empty", "two"]);
    assert_eq!(content(&folder.entries[2]), [2; 1000]);
    assert_eq!(folder.entries[0].path, Path::new("a.tar/a/one"));
    assert!(folder.problems.is_empty());
}

#[test]
fn a_member_lies_in_the_file_of_its_archive() {
    let file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut &file, &tar(&[("x", b"0123456789")])).unwrap();
    let len = file.metadata().unwrap().len();
    let archive = Source {
        path: "a.tar".into(),
        bytes: Arc::new(file),
        len,
        found: String::new(),
        host_files: Vec::new(),
    };
    let folder = members(&archive).unwrap();
    let member = folder.entries[0].open("").unwrap();
    assert_eq!(member.bytes.file_at(3).map(|(_, offset)| offset), Some(515));
}

#[test]
fn long_names_of_every_dialect_are_read() {
    let long = format!("{}/{}", "d".repeat(150), "f".repeat(90));
    assert_eq!(names(&listed(tar(&[(&long, b"1")]))), [&long]);
    let mut ustar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(1);
    ustar.append_data(&mut header, &long, &b"1"[..]).unwrap();
    assert_eq!(names(&listed(ustar.into_inner().unwrap())), [&long]);
    let mut pax = tar::Builder::new(Vec::new());
    pax.append_pax_extensions([("path", long.as_bytes())]).unwrap();
    pax.append_data(&mut header, "short", &b"1"[..]).unwrap();
    assert_eq!(names(&listed(pax.into_inner().unwrap())), [&long]);
}

#[test]
fn names_that_lead_elsewhere_or_carry_escapes_stay_inside() {
    let mut bytes = raw_header("/etc/x", b'0', b"0", |_| ());
    bytes.extend(raw_header("../../y", b'0', b"0", |_| ()));
    bytes.extend(raw_header("\x1b[2Jz", b'0', b"0", |_| ()));
    let paths: Vec<PathBuf> = listed(bytes).entries.into_iter().map(|entry| entry.path).collect();
    assert!(paths.iter().all(|path| path.starts_with("a.tar")), "{paths:?}");
    assert!(paths.contains(&PathBuf::from("a.tar/?[2Jz")), "{paths:?}");
}

#[test]
fn sizes_in_binary_are_read_and_absurd_ones_end_the_list() {
    let mut size = [0; 12];
    size[0] = 0x80;
    size[11] = 3;
    let mut bytes = raw_header("x", b'0', &size, |_| ());
    bytes.extend(padded(b"abc"));
    assert_eq!(content(&listed(bytes).entries[0]), b"abc");
    for size in [[0xff; 12], [0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]] {
        let mut bytes = raw_header("x", b'0', &size, |_| ());
        bytes.extend(padded(b"abc"));
        let folder = listed(bytes);
        assert!(folder.entries.iter().all(|entry| entry.len <= 512));
        assert_eq!(folder.problems.len(), 1, "{:?}", folder.problems);
    }
}

#[test]
fn a_cut_archive_gives_what_is_there_and_says_what_is_missing() {
    let whole = tar(&[("a", &[1; 512]), ("b", &[2; 2000])]);
    let folder = listed(whole[..512 * 3 + 1000].to_vec());
    assert_eq!(content(&folder.entries[1]), [2; 1000]);
    assert!(folder.problems[0].message.contains("within b: its last 0x3e8 bytes"));
    for len in 0..whole.len() {
        assert!(listed(whole[..len].to_vec()).entries.len() <= 2);
    }
}

#[test]
fn a_broken_header_ends_the_list_with_its_offset() {
    let mut bytes = tar(&[("a", b"1"), ("b", b"2")]);
    bytes[1024] ^= 1;
    let folder = listed(bytes);
    assert_eq!(names(&folder), ["a"]);
    assert!(folder.problems[0].message.contains("offset 0x400"), "{}", folder.problems[0]);
}

fn run(offset: u32, len: u32) -> Vec<u8> {
    format!("{offset:011o}\0{len:011o}\0").into_bytes()
}

#[test]
fn sparse_members_of_the_old_gnu_format_are_spread_out() {
    let mut bytes = raw_header("x", b'S', b"00000002000", |block| {
        block[257..265].copy_from_slice(b"ustar  \0");
        block[386..410].copy_from_slice(&run(512, 512));
        block[482] = 1;
        block[483..495].copy_from_slice(b"00000010000\0");
    });
    let mut more = run(2048, 512);
    more.resize(512, 0);
    bytes.extend(more);
    bytes.extend([1; 512]);
    bytes.extend([2; 512]);
    bytes.extend(raw_header("next", b'0', b"0", |_| ()));
    let folder = listed(bytes);
    assert_eq!(names(&folder), ["next", "x"], "{:?}", folder.problems);
    let want = [vec![0; 512], vec![1; 512], vec![0; 1024], vec![2; 512], vec![0; 1536]].concat();
    assert!(content(&folder.entries[1]) == want);
}

#[test]
fn sparse_members_of_pax_are_spread_out_under_their_real_name() {
    let data = [padded(b"2\n0\n512\n1024\n3\n"), vec![1; 512], padded(b"abc")].concat();
    let size = 512 + 512 + 3;
    let mut pax = tar::Builder::new(Vec::new());
    let records: [(&str, &[u8]); 4] = [
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"x.vmem"),
        ("GNU.sparse.realsize", b"2000"),
    ];
    pax.append_pax_extensions(records).unwrap();
    let mut header = tar::Header::new_ustar();
    header.set_size(size);
    pax.append_data(&mut header, "GNUSparseFile.0/x.vmem", &data[..1027]).unwrap();
    let folder = listed(pax.into_inner().unwrap());
    assert_eq!(names(&folder), ["x.vmem"], "{:?}", folder.problems);
    let want = [vec![1; 512], vec![0; 512], b"abc".to_vec(), vec![0; 973]].concat();
    assert!(content(&folder.entries[0]) == want);
}

#[test]
fn hostile_sparse_maps_are_refused() {
    for runs in [run(512, 512), run(0, 0)].map(|second| [run(1024, 1024), second].concat()) {
        let bytes = raw_header("x", b'S', b"0", |block| {
            block[386..434].copy_from_slice(&runs);
            block[483..495].copy_from_slice(b"00000010000\0");
        });
        let folder = listed(bytes);
        assert!(folder.entries.is_empty());
        assert!(folder.problems[0].message.contains("broken map"), "{}", folder.problems[0]);
    }
    // A map that goes on for ever, in an archive that does not.
    let bytes = raw_header("x", b'S', b"0", |block| block[482] = 1);
    assert!(listed(bytes).entries.is_empty());
}

#[test]
fn other_content_is_not_taken_for_an_archive() {
    assert!(is_tar(&tar(&[("a", b"1")])));
    assert!(!is_tar(&[0; 8192]));
    assert!(!is_tar(&[b' '; 8192]));
    assert!(!is_tar(b"short"));
}

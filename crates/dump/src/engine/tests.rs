use std::fs::{self, File};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vmss2core_guest::Facts;
use vmss2core_machine::Checkpoint;
use vmss2core_mem::{Gpa, PAGE_SIZE, ReadAt};

use crate::tests::support::{Scratch, guest, job, marked, write, write_to};
use crate::{DumpError, Existing, Job, Observer, Silent, Summary};

use super::{Extent, FileLayout, Literal, write_early};

/// Writes the memory over what is there.
fn replace(
    scratch: &Scratch,
    checkpoint: &Checkpoint,
    facts: &Facts,
    observer: &dyn Observer,
) -> Result<Summary, DumpError> {
    let existing = Existing::IsReplaced;
    let job = Job { existing, observer, ..job(scratch, checkpoint, &facts) };
    crate::format("raw").unwrap().write(&job)
}

/// Cancels once this many bytes are done.
struct CancelAt(u64, AtomicU64);

impl Observer for CancelAt {
    fn progress(&self, done: u64, _total: u64) {
        self.1.store(done, Ordering::Relaxed);
    }

    fn is_cancelled(&self) -> bool {
        self.1.load(Ordering::Relaxed) >= self.0
    }
}

/// A guest whose memory lies in a file: `pages` marked ones after a hole of as
/// many, `offset` bytes into it.
fn guest_in_file(pages: u64, offset: u64) -> (Checkpoint, tempfile::NamedTempFile, Vec<u8>) {
    let len = pages * PAGE_SIZE;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let bytes = marked(len, pages);
    file.as_file().set_len(offset + len).unwrap();
    io::Seek::seek(&mut file, io::SeekFrom::End(0)).unwrap();
    file.write_all(&bytes).unwrap();
    let mut checkpoint = Checkpoint::default();
    let source = Arc::new(file.reopen().unwrap());
    checkpoint.memory.map(Gpa(0), 2 * len, source, offset).unwrap();
    let mut want = vec![0; bytes.len()];
    want.extend(bytes);
    (checkpoint, file, want)
}

#[test]
fn memory_of_a_file_arrives_whole_and_sparse() {
    // Offsets that clones can take, and that they cannot.
    for (pages, offset) in [(1, 0), (700, 0x1_0000), (700, 0x1234), (33, 4095)] {
        let (checkpoint, _file, want) = guest_in_file(pages, offset);
        let (bytes, summary) = write("raw", &checkpoint, &Facts::default(), "").unwrap();
        assert!(bytes == want, "{pages} pages at {offset:#x}");
        assert_eq!(summary.len_bytes, want.len() as u64);
        assert_eq!(summary.memory_bytes, want.len() as u64);
    }
}

#[cfg(unix)]
#[test]
fn zero_pages_and_holes_take_no_space() {
    use std::os::unix::fs::MetadataExt;

    let mut checkpoint = Checkpoint::default();
    let mut bytes = vec![0; 4 << 20];
    bytes[1 << 20] = 1;
    checkpoint.memory.map(Gpa(0), 4 << 20, Arc::new(bytes), 0).unwrap();
    let (in_file, _file, _) = guest_in_file(64, 0);
    for (checkpoint, data_pages) in [(&checkpoint, 1), (&in_file, 64)] {
        let scratch = Scratch::new();
        let facts = Facts::default();
        replace(&scratch, checkpoint, &facts, &Silent).unwrap();
        let used = fs::metadata(&scratch.path).unwrap().blocks() * 512;
        assert!(used <= (data_pages + 8) * PAGE_SIZE, "{used} bytes for {data_pages} pages");
    }
}

#[test]
fn an_existing_file_is_kept_unless_it_may_be_replaced() {
    let scratch = Scratch::new();
    fs::write(&scratch.path, "precious").unwrap();
    let (checkpoint, facts) = (guest(&[(0, 4)]), Facts::default());
    let refused = write_to(&scratch, "raw", &checkpoint, &facts, "", &Silent);
    assert!(matches!(refused, Err(DumpError::Exists { .. })), "{refused:?}");
    assert_eq!(fs::read(&scratch.path).unwrap(), b"precious");
    replace(&scratch, &checkpoint, &facts, &Silent).unwrap();
    assert_eq!(fs::read(&scratch.path).unwrap(), marked(0, 4));
    assert_eq!(scratch.file_count(), 1);
}

/// Makes the output appear while the writer is at work.
struct Squatter(std::path::PathBuf);

impl Observer for Squatter {
    fn progress(&self, _done: u64, _total: u64) {
        fs::write(&self.0, "first").unwrap();
    }

    fn is_cancelled(&self) -> bool {
        false
    }
}

#[test]
fn a_file_that_appears_meanwhile_is_kept() {
    let scratch = Scratch::new();
    let squatter = Squatter(scratch.path.clone());
    let (checkpoint, facts) = (guest(&[(0, 4)]), Facts::default());
    let refused = write_to(&scratch, "raw", &checkpoint, &facts, "", &squatter);
    assert!(matches!(refused, Err(DumpError::Exists { .. })), "{refused:?}");
    assert_eq!(fs::read(&scratch.path).unwrap(), b"first");
    assert_eq!(scratch.file_count(), 1);
}

#[test]
fn cancelling_leaves_what_was_there() {
    let (checkpoint, facts) = (guest(&[(0, 1024)]), Facts::default());
    for at in [0, 1, 1 << 20, 1024 * PAGE_SIZE] {
        let scratch = Scratch::new();
        fs::write(&scratch.path, "precious").unwrap();
        let observer = CancelAt(at, AtomicU64::new(0));
        let stopped = replace(&scratch, &checkpoint, &facts, &observer);
        assert!(matches!(stopped, Err(DumpError::Cancelled)), "{stopped:?}");
        assert_eq!(fs::read(&scratch.path).unwrap(), b"precious");
        assert_eq!(scratch.file_count(), 1);
    }
}

#[test]
fn progress_ends_at_the_total() {
    let (checkpoint, _file, want) = guest_in_file(100, 0);
    let observer = CancelAt(u64::MAX, AtomicU64::new(0));
    let scratch = Scratch::new();
    replace(&scratch, &checkpoint, &Facts::default(), &observer).unwrap();
    assert_eq!(observer.1.load(Ordering::Relaxed), want.len() as u64);
}

#[cfg(unix)]
#[test]
fn only_the_owner_may_read_the_output() {
    use std::os::unix::fs::PermissionsExt;

    let scratch = Scratch::new();
    replace(&scratch, &guest(&[(0, 1)]), &Facts::default(), &Silent).unwrap();
    assert_eq!(fs::metadata(&scratch.path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn directories_and_inputs_are_no_outputs() {
    let scratch = Scratch::new();
    let (mut checkpoint, facts) = (guest(&[(0, 1)]), Facts::default());
    fs::create_dir(&scratch.path).unwrap();
    let refused = replace(&scratch, &checkpoint, &facts, &Silent);
    assert!(matches!(refused, Err(DumpError::NotAFile { .. })), "{refused:?}");
    fs::remove_dir(&scratch.path).unwrap();

    fs::write(&scratch.path, "memory").unwrap();
    let path = scratch.dir.path().join(".").join("out.core");
    checkpoint.about_mut().provenance.host_files = vec![path];
    let refused = replace(&scratch, &checkpoint, &facts, &Silent);
    assert!(matches!(refused, Err(DumpError::IsInput { .. })), "{refused:?}");
    assert_eq!(fs::read(&scratch.path).unwrap(), b"memory");
}

#[cfg(unix)]
#[test]
fn the_file_behind_a_link_is_replaced() {
    let scratch = Scratch::new();
    let target = scratch.dir.path().join("elsewhere");
    fs::write(&target, "old").unwrap();
    std::os::unix::fs::symlink(&target, &scratch.path).unwrap();
    replace(&scratch, &guest(&[(0, 1)]), &Facts::default(), &Silent).unwrap();
    assert!(fs::symlink_metadata(&scratch.path).unwrap().is_symlink());
    assert_eq!(fs::read(&target).unwrap(), marked(0, 1));
}

/// Fails from an offset on.
struct Broken(u64);

impl ReadAt for Broken {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        buf.fill(1);
        if offset + buf.len() as u64 > self.0 {
            return Err(io::Error::other("bad sector"));
        }
        Ok(())
    }
}

#[test]
fn a_read_error_names_the_address() {
    let mut checkpoint = Checkpoint::default();
    checkpoint.memory.map(Gpa(0x10_0000), 1 << 20, Arc::new(Broken(300 << 10)), 0).unwrap();
    let scratch = Scratch::new();
    let error = replace(&scratch, &checkpoint, &Facts::default(), &Silent);
    let DumpError::Read(error) = error.unwrap_err() else { panic!("another error") };
    assert_eq!(error.to_string(), "reading guest physical address 0x140000");
    assert_eq!(scratch.file_count(), 0);
}

#[test]
fn a_file_cut_short_since_it_was_opened_is_an_error() {
    let (checkpoint, file, _) = guest_in_file(64, 0);
    file.as_file().set_len(100 * PAGE_SIZE).unwrap();
    let scratch = Scratch::new();
    let error = replace(&scratch, &checkpoint, &Facts::default(), &Silent);
    let DumpError::Read(error) = error.unwrap_err() else { panic!("another error") };
    assert_eq!(error.to_string(), "reading guest physical address 0x64000");
}

/// Two files in turn, as a source made of pieces may have them.
struct Alternating(File, File);

impl ReadAt for Alternating {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        for (at, byte) in (offset..).zip(buf.iter_mut()) {
            let (file, at) = self.file_at(at).unwrap();
            file.read_exact_at(at, std::slice::from_mut(byte))?;
        }
        Ok(())
    }

    fn file_at(&self, offset: u64) -> Option<(&File, u64)> {
        Some(if offset < 4096 { (&self.0, offset) } else { (&self.1, offset - 4096) })
    }
}

#[test]
fn a_source_of_two_files_is_not_taken_for_one() {
    let file = |byte: u8| {
        let file = tempfile::tempfile().unwrap();
        (&file).write_all(&[byte; 4096]).unwrap();
        file
    };
    let mut checkpoint = Checkpoint::default();
    let source = Arc::new(Alternating(file(1), file(2)));
    checkpoint.memory.map(Gpa(0), 8192, source, 0).unwrap();
    let (bytes, _) = write("raw", &checkpoint, &Facts::default(), "").unwrap();
    assert_eq!(bytes, [[1; 4096], [2; 4096]].concat());
}

#[test]
fn a_flat_image_has_holes_and_says_where() {
    let checkpoint = guest(&[(0x1000, 2), (0x10_0000, 1)]);
    let (bytes, summary) = write("raw", &checkpoint, &Facts::default(), "").unwrap();
    assert_eq!(bytes.len(), 0x10_1000);
    assert_eq!(bytes[0x1000..0x3000], marked(0x1000, 2));
    assert_eq!(bytes[0x10_0000..], marked(0x10_0000, 1));
    assert!(bytes[0x3000..0x10_0000].iter().all(|byte| *byte == 0));
    let notes: Vec<String> = summary.problems.iter().map(ToString::to_string).collect();
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(notes[1].contains("0x3000..0x100000"), "{notes:?}");
}

/// The overlay arrives, in holes of the input as in its data and
/// across their border; a later one wins; the input keeps its own.
#[test]
fn an_overlay_covers_memory_and_leaves_the_input_alone() {
    for offset in [0, 0x1_0000, 0x1234] {
        let (checkpoint, file, mut want) = guest_in_file(300, offset);
        let before = fs::read(file.path()).unwrap();
        let literal =
            |offset: u64, byte: u8, len: usize| Literal { offset, bytes: vec![byte; len] };
        let border = want.len() as u64 / 2;
        let overlay = vec![
            literal(5, 1, 3),
            literal(border - 2, 2, 4),
            literal(want.len() as u64 - 100, 3, 100),
            literal(border - 1, 4, 2),
        ];
        for Literal { offset, bytes } in &overlay {
            let start = usize::try_from(*offset).unwrap();
            want[start..start + bytes.len()].copy_from_slice(bytes);
        }
        let extents = vec![Extent { offset: 0, gpa: Gpa(0), len_bytes: want.len() as u64 }];
        for expected in [extents.clone(), Vec::new()] {
            let layout = FileLayout {
                extents: extents.clone(),
                overlay: overlay.clone(),
                len_bytes: want.len() as u64,
                ..FileLayout::default()
            };
            let scratch = Scratch::new();
            let facts = &Facts::default();
            let job = job(&scratch, &checkpoint, &facts);
            write_early(&expected, || Ok(layout), &job).unwrap();
            assert!(fs::read(&scratch.path).unwrap() == want, "{offset:#x}");
        }
        assert!(fs::read(file.path()).unwrap() == before, "{offset:#x}");
    }
}

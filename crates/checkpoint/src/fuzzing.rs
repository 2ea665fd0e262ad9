//! Entry points for fuzzing; not for use.

use std::path::Path;
use std::sync::Arc;

use vmss2core_mem::{Gpa, PhysicalMemory};

use crate::codec::fastlz;
use crate::source::Source;
use crate::{OpenError, OpenOptions, Opened, find, vmware};

/// Pages read of each segment, and segments read.
const LOOKS: u64 = 64;

/// A checkpoint of any format, with three pages as its memory file.
pub fn state_file(data: &[u8]) {
    let sources = vec![source("x.vmss", data.to_vec()), source("x.vmem", vec![0x5a; 0x3000])];
    look(find::open_sources(sources, &OpenOptions::default()));
}

/// A memory file of FastLZ containers.
pub fn container(data: &[u8]) {
    let source = source("x.vmem", data.to_vec());
    let Ok(Some(image)) = vmware::open_compressed_image(&source) else { return };
    let mut page = [0; 4096];
    for number in 0..LOOKS {
        let _ = image.bytes.read_exact_at(number.saturating_mul(4096), &mut page);
    }
    let _ = image.bytes.read_exact_at(image.len.saturating_sub(4096), &mut page);
}

/// The length of the output in four bytes, then a FastLZ stream.
pub fn fastlz(data: &[u8]) {
    let Some((len, stream)) = data.split_first_chunk::<4>() else { return };
    let len = usize::try_from(u32::from_le_bytes(*len)).unwrap_or_default().min(1 << 20);
    for before in [fastlz::Before::Refuse, fastlz::Before::Zero] {
        let mut out = vec![7; 100];
        let _ = fastlz::decode(stream, len, before, &mut out);
    }
}

/// A file that may be gzip'd, an archive, or a bundle of pieces.
pub fn archive(data: &[u8], spill_dir: &Path) {
    let options = OpenOptions {
        spill_dir: Some(spill_dir.to_owned()),
        max_unpacked_bytes: 16 << 20,
        ..OpenOptions::default()
    };
    look(find::open_sources(vec![source("x", data.to_vec())], &options));
}

fn source(name: &str, bytes: Vec<u8>) -> Source {
    let len = bytes.len() as u64;
    Source {
        path: name.into(),
        bytes: Arc::new(bytes),
        len,
        found: "given".to_owned(),
        host_files: Vec::new(),
    }
}

fn look(opened: Result<Opened, OpenError>) {
    match opened {
        Err(error) => drop(error.to_string()),
        Ok(Opened { checkpoint, inventory }) => {
            read_around(&checkpoint.memory);
            let items = inventory.iter().flat_map(|inventory| &inventory.items);
            for item in items.filter(|item| item.size_in_file <= 1 << 16).take(100) {
                let _ = inventory.iter().try_for_each(|i| i.copy_to(item, &mut Vec::new()));
            }
        }
    }
}

fn read_around(memory: &PhysicalMemory) {
    let mut page = [0; 4096];
    for segment in memory.segments().iter().take(16) {
        for number in 0..LOOKS {
            let Some(gpa) = segment.start().checked_add(number.saturating_mul(4096)) else { break };
            let _ = memory.read_or_zero(gpa, &mut page);
        }
        let _ = memory.read_or_zero(Gpa(segment.end().0.saturating_sub(4096)), &mut page);
    }
}

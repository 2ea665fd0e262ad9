//! Guest memory: the image of a state file or its companion, put in its place.

use std::sync::Arc;

use vmss2core_mem::{Gpa, PAGE_SIZE, PhysicalMemory, Problem, ReadAt};

use super::error::VmwareError;
use super::problems::Problems;
use super::regions::{self, VmwareRegion};
use crate::OpenOptions;
use crate::codec::{self, Codec, Containers, Image};
use crate::inventory::{Item, ItemKind};
use crate::source::Source;

/// Sizes of the first container in the files seen.
const MAX_FIRST_BLOCK: u64 = 4 << 20;

/// Gaps between regions are listed up to this many.
const MAX_LISTED: usize = 4;

/// Opens the memory block inside a state file.
pub(super) fn open_block(
    source: &Source,
    item: &Item,
    options: &OpenOptions,
    problems: &mut Problems,
) -> Result<Image, VmwareError> {
    let there = source.len.saturating_sub(item.offset);
    if item.kind == ItemKind::Block || item.size_in_file == item.size_in_memory {
        let (bytes, offset) = (Arc::clone(&source.bytes), item.offset);
        let len = item.size_in_file.min(there);
        if item.size_in_file != item.size_in_memory {
            problems.push(Problem::warning(format!(
                "the memory block has two sizes, {:#x} in the file and {:#x} in memory; the first \
                 is used",
                item.size_in_file, item.size_in_memory
            )));
        }
        return Ok(Image { bytes, offset, len, codec: Codec::Stored, flaw: None });
    }
    let packed = item.size_in_file.min(there);
    let image = codec::open_image(&source.bytes, item.offset, packed, item.size_in_memory, options)
        .map_err(|error| VmwareError::compressed(source.path.clone(), item.offset, error))?;
    problems.extend(image.flaw.as_deref().map(Problem::incomplete));
    Ok(image)
}

/// Opens a companion file, which is flat unless its content says otherwise.
pub(super) fn open_companion(
    memory: &Source,
    expected: Option<u64>,
    problems: &mut Problems,
) -> Result<Image, VmwareError> {
    let flat = Image {
        bytes: Arc::clone(&memory.bytes),
        offset: 0,
        len: memory.len,
        codec: Codec::Stored,
        flaw: None,
    };
    // A file of the right size is not suspected: its first bytes are the guest's.
    if expected == Some(memory.len) {
        return Ok(flat);
    }
    let Some(containers) = open_containers(memory)? else { return Ok(flat) };
    problems.extend(cut(memory, &containers).map(Problem::incomplete));
    if containers.check_first().is_ok_and(|zeroed| zeroed) {
        problems.push(Problem::note(
            "the compressed memory refers to bytes before its start; they are taken as zero",
        ));
    }
    let len = containers.len();
    Ok(Image { bytes: Arc::new(containers), offset: 0, len, codec: Codec::Containers, flaw: None })
}

/// Recognises a memory file that is a sequence of FastLZ containers, by its
/// first two headers and by expanding the first block.
pub(super) fn open_containers(source: &Source) -> Result<Option<Containers>, VmwareError> {
    let error = |error| VmwareError::Read {
        path: source.path.clone(),
        what: "compressed memory",
        offset: 0,
        source: error,
    };
    let mut head = [0; 8];
    if source.len < 16 || source.bytes.read_exact_at(0, &mut head).is_err() {
        return Ok(None);
    }
    if !(1..=MAX_FIRST_BLOCK).contains(&u64::from_le_bytes(head)) {
        return Ok(None);
    }
    let containers = Containers::index(&source.bytes, 0, source.len).map_err(error)?;
    let plausible = |c: &Containers| c.count() > 1 || c.end() == source.len;
    Ok(containers.filter(|c| plausible(c) && c.check_first().is_ok()))
}

/// Message about a compressed file that does not end with a container.
pub(super) fn cut(source: &Source, containers: &Containers) -> Option<String> {
    let (path, stop) = (source.path.display(), containers.end());
    (stop != source.len).then(|| {
        format!(
            "{path}: compressed memory is cut or damaged at offset {stop:#x}, {:#x} bytes before \
             the end of the file",
            source.len.saturating_sub(stop)
        )
    })
}

/// Puts the regions of `image` in their places. What the image is too short for
/// stays absent.
pub(super) fn map(
    regions: &[VmwareRegion],
    image: &Image,
    problems: &mut Problems,
) -> PhysicalMemory {
    let mut memory = PhysicalMemory::new();
    // Sorted, so that a map of very many regions is built in linear time.
    let mut sorted: Vec<&VmwareRegion> = regions.iter().collect();
    sorted.sort_by_key(|region| (region.start, region.index));
    for region in sorted {
        let there = image.len.saturating_sub(region.image_offset).min(region.len);
        let there = there & !(PAGE_SIZE - 1);
        let source: Arc<dyn ReadAt> = Arc::clone(&image.bytes);
        let mapped = region
            .image_offset
            .checked_add(image.offset)
            .map(|offset| memory.map(Gpa(region.start), there, source, offset));
        if let Some(Err(error)) = mapped {
            problems.push(Problem::incomplete(format!(
                "memory region {} is left out: {error}",
                region.index
            )));
        }
    }
    report_length(regions, image, problems);
    report_shared(regions, problems);
    memory
}

fn report_length(regions: &[VmwareRegion], image: &Image, problems: &mut Problems) {
    let (needed, len) = (regions::image_len(regions), image.len);
    if len > needed {
        problems.push(Problem::note(format!(
            "the memory image is {:#x} bytes longer than its regions; the rest is not used",
            len.saturating_sub(needed)
        )));
    }
    if len >= needed {
        return;
    }
    let absent: Vec<String> = regions
        .iter()
        .filter(|r| r.image_offset.saturating_add(r.len) > len)
        .take(MAX_LISTED + 1)
        .map(|r| {
            let there = len.saturating_sub(r.image_offset) & !(PAGE_SIZE - 1);
            format!("{:#x}..{:#x}", r.start.saturating_add(there), r.start.saturating_add(r.len))
        })
        .collect();
    let more = if absent.len() > MAX_LISTED { " and more" } else { "" };
    let listed = absent.get(..MAX_LISTED).unwrap_or(&absent).join(", ");
    problems.push(Problem::incomplete(format!(
        "the memory image is {:#x} bytes short of the {needed:#x} that its regions need: guest \
         physical {listed}{more} is absent; was it copied while it was still being written?",
        needed.saturating_sub(len)
    )));
}

/// Two regions that share bytes of the image: one of them must be wrong.
fn report_shared(regions: &[VmwareRegion], problems: &mut Problems) {
    let mut sorted: Vec<&VmwareRegion> = regions.iter().collect();
    sorted.sort_by_key(|region| region.image_offset);
    let shared =
        sorted.array_windows().find(|[a, b]| b.image_offset < a.image_offset.saturating_add(a.len));
    if let Some([a, b]) = shared {
        problems.push(Problem::warning(format!(
            "memory regions {} and {} share bytes of the image from {:#x} on",
            a.index, b.index, b.image_offset
        )));
    }
}

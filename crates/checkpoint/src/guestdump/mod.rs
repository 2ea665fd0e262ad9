//! Guest dumps of ESXi: `debug.guest` with its memory in `debug.vmem`.
//!
//! ESXi writes them with `monitor.mini-suspend_on_panic` or
//! `monitor.suspend_on_triplefault` in the configuration. Versions 1 and 3 to 7
//! are known; version 2 and the processors of AArch64 guests are not.

use vmss2core_machine::{About, Checkpoint, Machine, Provenance, SourceFile, Vcpu};
use vmss2core_mem::{Gpa, PAGE_SIZE, PhysicalMemory, Problem};

use crate::companion::{Place, Strength, Tie, split};
use crate::format::{Case, Format, Recognition};
use crate::source::{HEAD_LEN, Source};
use crate::{OpenError, Opened};
use header::{Header, MainMemory};

mod header;
mod versions;
mod x86;

/// Guest dumps.
pub(crate) struct GuestDump;

impl Format for GuestDump {
    fn name(&self) -> &'static str {
        "guestdump"
    }

    fn recognise(&self, head: &[u8]) -> Option<Recognition> {
        let is_dump = Header::parse(head).is_some() || Header::is_version_2(head);
        is_dump.then_some(Recognition::Lead)
    }

    fn ties<'a>(&self, lead: &Source, place: &Place<'a>) -> Result<Vec<Tie<'a>>, OpenError> {
        Ok(ties(place, &read_header(lead)?))
    }

    fn open(&self, mut case: Case<'_>) -> Result<Opened, OpenError> {
        let source = case.lead.source.clone();
        let header = read_header(&source)?;
        if !header.is_x86 {
            let what = "the layout of the processors of AArch64 in a guest dump".to_owned();
            return Err(OpenError::Unknown { path: source.path, what });
        }
        let mut problems = std::mem::take(&mut case.lead.problems);
        let ties = ties(&case.place, &header);
        let Some(memory) = case.memory(&ties, &mut problems)? else {
            return Err(not_found(&source, &case.place, &header));
        };
        let memory = Case::plain_image(memory)?;
        let vcpus = read_vcpus(&source, &header, &mut problems)?;
        let mapped = map(&memory, &header.memory, &mut problems);
        let about = About {
            machine: machine(&header),
            provenance: provenance(self.name(), &header, &source, &memory),
            problems,
        };
        let checkpoint = Checkpoint::new(mapped, vcpus, about);
        Ok(Opened { checkpoint, inventory: None })
    }
}

fn read_header(source: &Source) -> Result<Header, OpenError> {
    let head = source.start(HEAD_LEN)?;
    Header::parse(&head).ok_or_else(|| {
        let path = source.path.clone();
        if Header::is_version_2(&head) {
            let what = "the layout of version 2 of a guest dump".to_owned();
            return OpenError::Unknown { path, what };
        }
        let detail = "memory, holes and last address do not agree".to_owned();
        OpenError::Broken { path, what: "guest dump header", offset: 0, detail }
    })
}

/// The file of the same name, or else the only one of the right size.
fn ties<'a>(place: &Place<'a>, header: &Header) -> Vec<Tie<'a>> {
    let named = place.same_stem(place.base_name(), &["vmem"]).into_iter();
    let mut ties: Vec<Tie<'a>> = named
        .map(|entry| Tie { entry, strength: Strength::SameName, found: "same name".to_owned() })
        .collect();
    let len = header.memory.len_bytes();
    if let ([], [entry]) = (ties.as_slice(), place.same_size(len).as_slice()) {
        let found = format!("exact size of {len} bytes");
        ties.push(Tie { entry, strength: Strength::Size, found });
    }
    ties
}

fn not_found(source: &Source, place: &Place<'_>, header: &Header) -> OpenError {
    let looked_for = format!(
        "{}.vmem and for the one file of {} bytes, in {}",
        split(place.base_name()).0,
        header.memory.len_bytes(),
        place.folder.path.display()
    );
    OpenError::MemoryNotFound { path: source.path.clone(), looked_for }
}

/// The processors whose records are all in the file.
fn read_vcpus(
    source: &Source,
    header: &Header,
    problems: &mut Vec<Problem>,
) -> Result<Vec<Vcpu>, OpenError> {
    let there = |index: &u32| header.record_offset((*index).saturating_add(1)) <= source.len;
    let vcpus: Vec<Vcpu> = (0..header.num_vcpus)
        .take_while(there)
        .map(|index| header.vcpu(source, index))
        .collect::<Result<_, _>>()?;
    let (path, want) = (source.path.display(), header.file_len());
    if source.len < want {
        problems.push(Problem::incomplete(format!(
            "{path}: ends at {:#x} instead of {want:#x}: {} of {} processors are there",
            source.len,
            vcpus.len(),
            header.num_vcpus
        )));
    } else if source.len > want {
        problems.push(Problem::warning(format!(
            "{path}: is {:#x} bytes long, and {want:#x} by its header: the registers may be wrong",
            source.len
        )));
    }
    Ok(vcpus)
}

/// Puts the image in its place: it leaves the holes out.
fn map(source: &Source, main: &MainMemory, problems: &mut Vec<Problem>) -> PhysicalMemory {
    let mut memory = PhysicalMemory::new();
    let (mut offset, mut start) = (0_u64, 0_u64);
    let end = main.holes.iter().map(|hole| hole.pages).fold(main.pages, u64::saturating_add);
    let holes =
        main.holes.iter().map(|hole| (hole.start.0, hole.start.0.saturating_add(hole.pages)));
    for (hole_start, hole_end) in holes.chain([(end, end)]) {
        let len = hole_start.saturating_sub(start).saturating_mul(PAGE_SIZE);
        let there = len.min(source.len.saturating_sub(offset));
        if let Err(error) =
            memory.map(Gpa(start.saturating_mul(PAGE_SIZE)), there, source.bytes.clone(), offset)
        {
            problems.push(Problem::incomplete(error.to_string()));
        }
        offset = offset.saturating_add(len);
        start = hole_end;
    }
    problems.extend(size_problem(source, main.len_bytes()));
    memory
}

fn size_problem(source: &Source, want: u64) -> Option<Problem> {
    let (path, len) = (source.path.display(), source.len);
    match len.cmp(&want) {
        std::cmp::Ordering::Equal => None,
        std::cmp::Ordering::Less => Some(Problem::incomplete(format!(
            "{path}: memory file of {len:#x} bytes instead of {want:#x}: the rest of the guest's \
             memory is missing; copy it again"
        ))),
        std::cmp::Ordering::Greater => Some(Problem::warning(format!(
            "{path}: memory file of {len:#x} bytes instead of {want:#x}: it may belong to another \
             checkpoint"
        ))),
    }
}

fn machine(header: &Header) -> Machine {
    Machine {
        architecture: Some(Header::ARCH),
        product: Some("VMware ESXi".to_owned()),
        memory_mib: Some(header.memory.len_bytes() >> 20),
        ..Machine::default()
    }
}

fn provenance(
    format: &'static str,
    header: &Header,
    state: &Source,
    memory: &Source,
) -> Provenance {
    let (number, product) = (header.version.number, header.version.product);
    let file = |source: &Source, role| SourceFile {
        path: source.path.clone(),
        role,
        found: source.found.clone(),
    };
    Provenance {
        kind: format!("VMware guest dump version {number} ({product})"),
        format,
        files: vec![file(state, "state"), file(memory, "memory")],
        ..Provenance::default()
    }
}

#[cfg(test)]
mod tests;

//! VMware's files as input formats.

use vmss2core_machine::Snapshot;
use vmss2core_mem::Problem;

use super::NAME;
use super::companions::{self, StateFacts};
use super::{StateFile, VmwareError, is_state, open_compressed_image, vmsd};
use crate::companion::{Place, Strength, Tie};
use crate::flat::Hole;
use crate::format::{Case, Format, Recognition};
use crate::source::Source;
use crate::{OpenError, Opened};

/// Suspended states and snapshots, with their memory inside or beside them.
pub(crate) struct Vmware;

impl Format for Vmware {
    fn name(&self) -> &'static str {
        NAME
    }

    fn recognise(&self, head: &[u8]) -> Option<Recognition> {
        is_state(head).then_some(Recognition::Lead)
    }

    fn ties<'a>(&self, lead: &Source, place: &Place<'a>) -> Result<Vec<Tie<'a>>, OpenError> {
        let state = StateFile::open(lead)?;
        Ok(companions::ties(place, &facts(&state)))
    }

    fn memory_holes(&self, place: &Place<'_>) -> Vec<Hole> {
        companions::memory_holes(place)
    }

    fn memory_size(&self, place: &Place<'_>) -> Option<(u64, String)> {
        companions::memory_size(place)
    }

    fn snapshot(&self, place: &Place<'_>) -> Option<Snapshot> {
        let listed = vmsd::listed(place);
        vmsd::owner(&listed, place.base_name()).map(|owner| owner.snapshot.clone())
    }

    fn memory_image(&self, source: &Source) -> Result<Option<Source>, OpenError> {
        Ok(open_compressed_image(source)?)
    }

    fn open(&self, mut case: Case<'_>) -> Result<Opened, OpenError> {
        let state = StateFile::open(&case.lead.source)?;
        let facts = facts(&state);
        let ties = companions::ties(&case.place, &facts);
        let mut problems = std::mem::take(&mut case.lead.problems);
        let memory = if state.has_memory() {
            problems.extend(memory_too_many(&case, &ties));
            None
        } else {
            problems.extend(by_size_only(&case, &ties));
            case.memory(&ties, &mut problems)?
        };
        let options = case.unpacker.options;
        let snapshots = vmsd::listed(&case.place);
        let foreign =
            memory.as_ref().and_then(|memory| vmsd::mixed(&snapshots, &case.lead.source, memory));
        problems.extend(foreign);
        let empty = memory.as_ref().filter(|memory| memory.len == 0).map(|memory| {
            VmwareError::MemoryFileEmpty {
                path: memory.path.clone(),
                expected: state.expected_memory_len(),
            }
        });
        let missing = empty.or_else(|| memory.is_none().then(|| state.no_memory()));
        let mut opened = if let Some(missing) = missing.filter(|_| !state.has_memory()) {
            let missing = explain(missing, &case.place, &facts);
            if !options.without_memory {
                return Err(missing);
            }
            problems.push(Problem::incomplete(missing.to_string()));
            state.into_opened_without_memory()
        } else {
            state.into_opened(memory, options)?
        };
        let owner = vmsd::owner(&snapshots, case.place.base_name());
        opened.checkpoint.about_mut().provenance.snapshot =
            owner.map(|owner| owner.snapshot.clone());
        opened.checkpoint.about_mut().problems.splice(0..0, problems);
        Ok(opened)
    }
}

fn facts(state: &StateFile) -> StateFacts {
    StateFacts { expected_len: state.expected_memory_len(), vmx: state.vmx_text() }
}

/// Memory beside a state file that has its own: an older or newer one, or of
/// another machine.
fn memory_too_many(case: &Case<'_>, ties: &[Tie<'_>]) -> Option<Problem> {
    let lead = case.lead.source.path.display();
    let path = match (&case.memory, ties.first()) {
        (Some(given), _) => &given.source.path,
        (None, Some(tie)) if tie.strength != Strength::Size => &tie.entry.path,
        _ => return None,
    };
    let path = path.display();
    Some(Problem::warning(format!("{lead}: has its memory inside, which is used; {path} is not")))
}

fn by_size_only(case: &Case<'_>, ties: &[Tie<'_>]) -> Option<Problem> {
    let tie = ties.first().filter(|tie| tie.strength == Strength::Size)?;
    case.memory.is_none().then(|| {
        let path = tie.entry.path.display();
        Problem::note(format!("{path}: taken as the memory because of its size alone"))
    })
}

/// Says where the memory was looked for.
fn explain(error: VmwareError, place: &Place<'_>, facts: &StateFacts) -> OpenError {
    match error {
        VmwareError::MemoryFileMissing { path, .. } => {
            let looked_for = companions::looked_for(place, facts);
            OpenError::MemoryNotFound { path, looked_for }
        }
        other => other.into(),
    }
}

/// Configurations (`.vmx`) and lists of snapshots (`.vmsd`), which name
/// checkpoints.
pub(crate) struct Configuration;

impl Format for Configuration {
    fn name(&self) -> &'static str {
        "vmware-configuration"
    }

    fn recognise(&self, head: &[u8]) -> Option<Recognition> {
        companions::is_configuration(head).then_some(Recognition::Guide)
    }

    fn named_by(&self, guide: &Source) -> Result<Vec<String>, OpenError> {
        companions::checkpoints_named_in(guide)
    }

    fn unmet(&self, guide: &Source, names: &[String]) -> Option<OpenError> {
        let path = guide.path.clone();
        let encryption = companions::encryption_of(guide);
        let name = names.first().map(|name| companions::plain(name));
        (name.is_some() || encryption.is_some()).then_some(OpenError::NamedFileMissing {
            path,
            name,
            encryption,
        })
    }

    fn open(&self, case: Case<'_>) -> Result<Opened, OpenError> {
        let looks = "it is the configuration of a machine".to_owned();
        Err(OpenError::NotACheckpoint { path: case.lead.source.path, looks })
    }
}

/// Files of an encrypted machine: "encobj" containers.
///
/// Their first page is plain: magic, version, bytes of data per page (4064),
/// size of the initialisation vector and of the checksum, and the logical size
/// (heeeyaaaa/vmem-decrypt, docs/FORMAT.md).
pub(crate) struct EncryptedContainer;

/// `0x8943dd9e`.
const ENCOBJ_MAGIC: [u8; 4] = [0x9e, 0xdd, 0x43, 0x89];

impl Format for EncryptedContainer {
    fn name(&self) -> &'static str {
        "vmware-encrypted"
    }

    fn recognise(&self, head: &[u8]) -> Option<Recognition> {
        head.starts_with(&ENCOBJ_MAGIC).then_some(Recognition::Refused)
    }

    fn open(&self, case: Case<'_>) -> Result<Opened, OpenError> {
        Err(OpenError::Encrypted { path: case.lead.source.path })
    }
}

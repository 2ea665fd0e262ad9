//! Input formats, as the rest of the crate sees them.

use vmss2core_machine::Snapshot;
use vmss2core_mem::Problem;

use crate::companion::{Place, Tie};
use crate::flat::Hole;
use crate::source::{HEAD_LEN, Item, Source, Unpacker};
use crate::{OpenError, Opened, elf, flat, guestdump, stranger, vmware};

/// Every input format; the first that recognises a file has it.
pub(crate) static FORMATS: &[&dyn Format] = &[
    &vmware::Vmware,
    &vmware::EncryptedContainer,
    &vmware::Configuration,
    &guestdump::GuestDump,
    &elf::ElfCore,
    &stranger::Stranger,
    // Takes whatever is left.
    &flat::FlatMemory,
];

/// An input format.
///
/// # To add a format
///
/// 1. Make a folder `src/NAME/` with `mod.rs` (an `impl Format`), `raw.rs` (the
///    layout, with its source) and `vcpu.rs` (the registers), as `guestdump/`
///    has them. Read through [`Source`] only; whatever a file says about sizes
///    is checked before it is believed.
/// 2. Add one line to [`FORMATS`], before `flat`.
/// 3. Fill [`recognise`](Self::recognise) and [`open`](Self::open). Compression,
///    archives, directories and pieces need nothing: what comes in is unpacked.
/// 4. If memory can lie in a second file, fill [`ties`](Self::ties) and call
///    [`Case::memory`] in `open`: that finds it from the one side, and the other
///    file from the other.
/// 5. If memory can be wrapped in a container of its own, fill
///    [`memory_image`](Self::memory_image); if memory files get lost from their
///    state, [`memory_holes`](Self::memory_holes).
/// 6. Tests beside the code with bytes put together by hand; a writer in
///    `crates/lab` that shares no layout with the reader; a fuzz target; a row in
///    the table of the README; a line in CHANGELOG.md.
///
/// Nothing else names the format. The least one:
///
/// ```text
/// pub(crate) struct Snap;
///
/// impl Format for Snap {
///     fn name(&self) -> &'static str {
///         "snap"
///     }
///     fn recognise(&self, head: &[u8]) -> Option<Recognition> {
///         head.starts_with(b"SNAP").then_some(Recognition::Lead)
///     }
///     fn open(&self, case: Case<'_>) -> Result<Opened, OpenError> {
///         read(&case.lead.source)
///     }
/// }
/// ```
pub(crate) trait Format: Sync {
    /// Its name, as in `Provenance::format`.
    fn name(&self) -> &'static str;

    /// The role of a file that begins with `head` for this format. The extension of
    /// its name is not known here, and must not matter.
    fn recognise(&self, head: &[u8]) -> Option<Recognition>;

    /// Opens a checkpoint.
    fn open(&self, case: Case<'_>) -> Result<Opened, OpenError>;

    /// The files near `lead` that can be its memory, surest first.
    fn ties<'a>(&self, lead: &Source, place: &Place<'a>) -> Result<Vec<Tie<'a>>, OpenError> {
        let (_, _) = (lead, place);
        Ok(Vec::new())
    }

    /// The checkpoints that `guide` names, as file names without directory.
    fn named_by(&self, guide: &Source) -> Result<Vec<String>, OpenError> {
        let _ = guide;
        Ok(Vec::new())
    }

    /// Advice about a `guide` next to which there is no checkpoint; `names` are
    /// those that it names.
    fn unmet(&self, guide: &Source, names: &[String]) -> Option<OpenError> {
        let (_, _) = (guide, names);
        None
    }

    /// The parts of the address space that a machine of this format's product
    /// leaves without memory, likeliest first; `place` is where a memory image
    /// lies of which nothing is known.
    fn memory_holes(&self, place: &Place<'_>) -> Vec<Hole> {
        let _ = place;
        Vec::new()
    }

    /// How much memory the machine has whose memory image lies at `place`, and what says so.
    fn memory_size(&self, place: &Place<'_>) -> Option<(u64, String)> {
        let _ = place;
        None
    }

    /// The snapshot that the file at `place` belongs to, as a list beside it has it.
    fn snapshot(&self, place: &Place<'_>) -> Option<Snapshot> {
        let _ = place;
        None
    }

    /// The plain memory image in `source`, if that is a container of this format
    /// around one.
    fn memory_image(&self, source: &Source) -> Result<Option<Source>, OpenError> {
        let _ = source;
        Ok(None)
    }
}

/// The role of a file for a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recognition {
    /// The file that makes a checkpoint, with or without memory in it.
    Lead,
    /// Memory, which another file may lead to.
    Memory,
    /// A list or configuration that can name a checkpoint beside it.
    Guide,
    /// Something well known that cannot be opened; `open` returns why.
    Refused,
}

/// The format of a file that begins with `head`, and what it is to it.
pub(crate) fn recognise(head: &[u8]) -> Option<(&'static dyn Format, Recognition)> {
    let known = |format: &&'static dyn Format| Some((*format, format.recognise(head)?));
    FORMATS.iter().find_map(known)
}

/// A checkpoint to be opened.
pub(crate) struct Case<'a> {
    /// The file that was recognised.
    pub(crate) lead: Item,
    /// The memory file that the user named.
    pub(crate) memory: Option<Item>,
    /// Where the lead lies.
    pub(crate) place: Place<'a>,
    /// How to open more files.
    pub(crate) unpacker: Unpacker<'a>,
}

impl Case<'_> {
    /// The memory file: the one that the user named, or the first of `ties`.
    /// Problems of unpacking it go to `problems`.
    pub(crate) fn memory(
        &mut self,
        ties: &[Tie<'_>],
        problems: &mut Vec<Problem>,
    ) -> Result<Option<Source>, OpenError> {
        let item = match (self.memory.take(), ties.first()) {
            (Some(given), _) => given,
            (None, None) => return Ok(None),
            (None, Some(tie)) => match self.unpacker.open(tie.entry, &tie.found)? {
                Some(item) => item,
                None => return Ok(None),
            },
        };
        self.refuse_foreign(&item.source)?;
        problems.extend(item.problems);
        Ok(Some(item.source))
    }

    /// Takes the container that a format has for memory off a memory file.
    pub(crate) fn plain_image(source: Source) -> Result<Source, OpenError> {
        for format in FORMATS {
            if let Some(image) = format.memory_image(&source)? {
                return Ok(image);
            }
        }
        Ok(source)
    }

    /// Fails with the reason if `source` is known not to be readable as memory.
    fn refuse_foreign(&self, source: &Source) -> Result<(), OpenError> {
        let head = source.start(HEAD_LEN)?;
        let Some((format, Recognition::Refused)) = recognise(&head) else { return Ok(()) };
        let (place, unpacker) = (self.place.clone(), self.unpacker);
        let case = Case { lead: source.clone().into(), memory: None, place, unpacker };
        format.open(case).map(|_| ())
    }
}

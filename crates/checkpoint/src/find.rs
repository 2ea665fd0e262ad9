//! From what the user named to one checkpoint: which file leads, and which
//! belong to it.

use std::path::{Path, PathBuf};

use vmss2core_mem::Problem;

use crate::companion::{Place, Tie, split};
use crate::format::{Case, Format, Recognition, recognise};
use crate::source::{
    Content, Entry, Folder, HEAD_LEN, Item, Ledger, Peek, Source, Unpacker, parent,
};
use crate::{ErrorKind, OpenError, OpenOptions, Opened, pieces};

mod choose;

/// Opens what `inputs` name.
pub(crate) fn open(inputs: &[PathBuf], options: &OpenOptions) -> Result<Opened, OpenError> {
    let ledger = Ledger::default();
    let unpacker = Unpacker { options, ledger: &ledger };
    let mut given = Given::default();
    for path in inputs {
        given.add(path, unpacker)?;
    }
    let mut opened = given.open(unpacker)?;
    opened.checkpoint.about_mut().provenance.host_files = ledger.into_host_files();
    Ok(opened)
}

/// Opens byte objects that lie in no directory, as fuzzing does.
pub(crate) fn open_sources(
    sources: Vec<Source>,
    options: &OpenOptions,
) -> Result<Opened, OpenError> {
    let unpacker = Unpacker { options, ledger: &Ledger::default() };
    let mut given = Given::default();
    for source in sources {
        let name = source.path.to_string_lossy().into_owned();
        given.add_source(source, Folder::default(), name, unpacker)?;
    }
    given.open(unpacker)
}

/// A file that the user named, with the directory around it.
struct File {
    format: &'static dyn Format,
    item: Item,
    folder: Folder,
    name: String,
}

/// The files that the user named, sorted out by content.
#[derive(Default)]
struct Given {
    lead: Option<File>,
    memory: Option<File>,
    folder: Option<Folder>,
    /// Whether the folder is only that of a guide.
    guided: bool,
    /// Checkpoints to prefer in the folder.
    wanted: Vec<String>,
}

impl Given {
    fn add(&mut self, path: &Path, unpacker: Unpacker<'_>) -> Result<(), OpenError> {
        if path.is_dir() {
            return self.add_folder(Folder::read_tree(path)?);
        }
        // A directory that may not be listed still lets its files be opened.
        let folder = Folder::read(parent(path)).unwrap_or_default();
        let (source, name) = match folder.entry_at(path) {
            Some(entry) => (entry.open("given")?, entry.name.clone()),
            None => (Source::open(path, "given")?, path.to_string_lossy().into_owned()),
        };
        self.add_source(source, folder, name, unpacker)
    }

    fn add_source(
        &mut self,
        source: Source,
        folder: Folder,
        name: String,
        unpacker: Unpacker<'_>,
    ) -> Result<(), OpenError> {
        match unpacker.unpack(source)? {
            Content::Archive(folder) => self.add_folder(folder),
            Content::File(item) => self.add_file(item, folder, name, unpacker),
        }
    }

    fn add_folder(&mut self, folder: Folder) -> Result<(), OpenError> {
        if self.folder.is_some() {
            return Err(OpenError::TooManyInputs { path: folder.path });
        }
        self.folder = Some(folder);
        Ok(())
    }

    fn add_file(
        &mut self,
        item: Item,
        folder: Folder,
        name: String,
        unpacker: Unpacker<'_>,
    ) -> Result<(), OpenError> {
        let path = item.source.path.clone();
        pieces::refuse(&folder, &name)?;
        let Some((format, recognition)) = recognise(&item.source.start(HEAD_LEN)?) else {
            let looks = "it is empty".to_owned();
            return Err(OpenError::NotACheckpoint { path, looks });
        };
        let file = File { format, item, folder, name };
        match recognition {
            Recognition::Refused => file.open(None, unpacker).map(|_| ()),
            Recognition::Guide => {
                self.guided = true;
                self.wanted = format.named_by(&file.item.source)?;
                self.add_folder(file.folder)
            }
            Recognition::Lead => match self.lead.replace(file) {
                Some(first) => {
                    let first = first.item.source.path;
                    Err(OpenError::TwoCheckpoints { first, second: path })
                }
                None => Ok(()),
            },
            Recognition::Memory => match self.memory.replace(file) {
                Some(_) => Err(OpenError::TooManyInputs { path }),
                None => Ok(()),
            },
        }
    }

    fn open(self, unpacker: Unpacker<'_>) -> Result<Opened, OpenError> {
        match (self.lead, self.memory, self.folder) {
            (None, None, None) => Err(OpenError::NoInput),
            // A configuration that came along is not needed to find anything.
            (Some(lead), memory, Some(_)) if self.guided => {
                lead.open(memory.map(|file| file.item), unpacker)
            }
            (Some(_), _, Some(folder)) => Err(OpenError::TooManyInputs { path: folder.path }),
            (Some(lead), memory, None) => lead.open(memory.map(|file| file.item), unpacker),
            (None, Some(memory), None) => memory.open_as_memory(unpacker),
            (None, memory, Some(folder)) => {
                choose::open_in(&folder, &self.wanted, memory.map(|file| file.item), unpacker)
            }
        }
    }
}

impl File {
    fn open(self, memory: Option<Item>, unpacker: Unpacker<'_>) -> Result<Opened, OpenError> {
        let place = Place { folder: &self.folder, name: self.name };
        self.format.open(Case { lead: self.item, memory, place, unpacker })
    }

    /// Opens a memory file: with the file that leads to it, if one lies beside
    /// it, or else as it is.
    fn open_as_memory(self, unpacker: Unpacker<'_>) -> Result<Opened, OpenError> {
        let owner = find_owner(&self.folder, &self.name, unpacker)?;
        let Some(owner) = owner else {
            let unreadable = unreadable_namesakes(&self.folder, &self.name);
            let mut opened = self.open(None, unpacker)?;
            opened.checkpoint.about_mut().problems.splice(0..0, unreadable);
            return Ok(opened);
        };
        let lead = owner.lead;
        let place = Place { folder: &self.folder, name: lead.name };
        let memory = Some(self.item);
        lead.format.open(Case { lead: lead.item, memory, place, unpacker })
    }
}

/// Problem: files with the name of the memory file `name` cannot be read, which may hold
/// the registers.
fn unreadable_namesakes(folder: &Folder, name: &str) -> Vec<Problem> {
    let memory = Place { folder, name: name.to_owned() };
    let stem = split(memory.base_name()).0;
    let namesakes = memory.siblings().filter(|entry| split(entry.base_name()).0 == stem);
    let errors = namesakes.filter_map(|entry| Unpacker::peek(entry).err());
    errors
        .map(|error| {
            let why = std::error::Error::source(&error).map(|why| format!(": {why}"));
            Problem::incomplete(format!(
                "{error}{}; if it is the state of this machine, its registers are missing",
                why.unwrap_or_default()
            ))
        })
        .collect()
}

/// A file of a folder that can be opened as a checkpoint.
struct Lead {
    format: &'static dyn Format,
    item: Item,
    name: String,
}

/// A lead, and why a memory file belongs to it.
struct Owner<'a> {
    lead: Lead,
    tie: Tie<'a>,
}

/// The file in `folder` that leads to the memory file `name`. `None` if there
/// is none; an error if there are several, or if the one is encrypted.
fn find_owner<'a>(
    folder: &'a Folder,
    name: &str,
    unpacker: Unpacker<'_>,
) -> Result<Option<Owner<'a>>, OpenError> {
    let memory = Place { folder, name: name.to_owned() };
    let mut owners = Vec::new();
    for entry in memory.siblings() {
        // What cannot be read or is broken leads to nothing.
        if let Some((format, Recognition::Lead)) = peek(entry)
            && let Ok(Some(item)) = unpacker.open(entry, "")
        {
            let lead = Lead { format, item, name: entry.name.clone() };
            owners.extend(tie_to(folder, name, &lead).map(|tie| Owner { lead, tie }));
        }
    }
    surest(folder, owners)
}

/// Why `lead` leads to the file `name`, if it does.
fn tie_to<'a>(folder: &'a Folder, name: &str, lead: &Lead) -> Option<Tie<'a>> {
    let place = Place { folder, name: lead.name.clone() };
    let ties = lead.format.ties(&lead.item.source, &place).ok()?;
    ties.into_iter().find(|tie| tie.entry.name == name)
}

fn surest<'a>(folder: &Folder, mut owners: Vec<Owner<'a>>) -> Result<Option<Owner<'a>>, OpenError> {
    owners.sort_by_key(|owner| owner.tie.strength);
    let best = owners.first().map(|owner| owner.tie.strength);
    owners.retain(|owner| Some(owner.tie.strength) == best);
    if owners.len() > 1 {
        let choices = owners.into_iter().map(|owner| owner.lead.item.source.path.into()).collect();
        return Err(OpenError::Ambiguous { path: folder.path.clone(), choices });
    }
    Ok(owners.pop().map(|mut owner| {
        owner.lead.item.source.found.clone_from(&owner.tie.found);
        owner
    }))
}

/// The kind of the file `entry`, if that can be told without unpacking all of it.
fn peek(entry: &Entry) -> Option<(&'static dyn Format, Recognition)> {
    match Unpacker::peek(entry).ok()? {
        Peek::File(head) => recognise(&head),
        Peek::Archive => None,
    }
}

#[cfg(test)]
mod tests;

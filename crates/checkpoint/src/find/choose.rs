//! Which of the files in a directory or an archive is the checkpoint.

use super::{Case, ErrorKind, Item, Lead, OpenError, Opened, Place, Recognition, Unpacker};
use crate::error::{Candidate, Other};
use crate::format::recognise;
use crate::pieces;
use crate::source::{Content, Entry, Folder, Peek};

/// Archives within directories or archives that are followed.
const MAX_NESTING: u32 = 3;

/// Checkpoints of one folder that are tried.
const MAX_LEADS: usize = 64;

/// Files without a signature that are tried as memory.
const MAX_IMAGES: usize = 4;

/// Shortest such file: a guest has more memory than this, a log may not.
const MIN_IMAGE_LEN: u64 = 1 << 20;

/// Opens the one checkpoint in `folder`, with `memory` if the user named that.
/// If any of the checkpoints are `wanted`, only those count.
pub(super) fn open_in(
    folder: &Folder,
    wanted: &[String],
    memory: Option<Item>,
    unpacker: Unpacker<'_>,
) -> Result<Opened, OpenError> {
    let (opened, failed) = (Vec::new(), Vec::new());
    let others = Vec::new();
    let mut choice = Choice { wanted, memory, unpacker, files: 0, opened, failed, others };
    choice.look_into(folder, MAX_NESTING)?;
    choice.finish(folder)
}

/// A choice in the making.
struct Choice<'a> {
    wanted: &'a [String],
    memory: Option<Item>,
    unpacker: Unpacker<'a>,
    files: usize,
    opened: Vec<(std::path::PathBuf, Opened)>,
    failed: Vec<OpenError>,
    /// Files that turned out to be something else.
    others: Vec<Other>,
}

/// The entries of a folder by what they are.
#[derive(Default)]
struct Sorted<'a> {
    leads: Vec<&'a Entry>,
    refused: Vec<&'a Entry>,
    archives: Vec<&'a Entry>,
    images: Vec<&'a Entry>,
    guides: Vec<&'a Entry>,
    unreadable: Vec<OpenError>,
}

impl Choice<'_> {
    /// Tries what lies open first; archives only if nothing does, and files
    /// without a signature last.
    fn look_into(&mut self, folder: &Folder, nesting: u32) -> Result<(), OpenError> {
        self.files = self.files.saturating_add(folder.entries.len());
        let sorted = self.sort(folder);
        if sorted.leads.len() > MAX_LEADS {
            let choices = sorted.leads.iter().map(|entry| entry.path.clone().into()).collect();
            return Err(OpenError::Ambiguous { path: folder.path.clone(), choices });
        }
        for entry in &sorted.leads {
            self.try_entry(folder, entry);
        }
        if self.is_undecided() {
            self.look_into_archives(&sorted.archives, nesting)?;
        }
        // A file that cannot be read may be what the memory belongs to.
        if self.is_undecided() && sorted.unreadable.is_empty() {
            self.look_at_refused(folder, &sorted.refused);
            for entry in &sorted.images {
                self.try_entry(folder, entry);
            }
        }
        if self.is_undecided() {
            let unmet = sorted.guides.iter().find_map(|guide| unmet(guide, folder));
            self.failed.extend(unmet);
        }
        // Any of these may have been the one; a set of pieces surely is asked for.
        let undecided = self.is_undecided();
        let wanted = |error: &OpenError| undecided || matches!(error, OpenError::Pieces { .. });
        self.failed.extend(sorted.unreadable.into_iter().filter(wanted));
        Ok(())
    }

    /// Up to the first that would be a checkpoint if it could be read.
    fn look_at_refused(&mut self, folder: &Folder, refused: &[&Entry]) {
        for entry in refused {
            self.try_entry(folder, entry);
            if !self.failed.is_empty() {
                return;
            }
        }
    }

    fn is_undecided(&self) -> bool {
        self.opened.is_empty() && self.failed.is_empty()
    }

    fn sort<'e>(&self, folder: &'e Folder) -> Sorted<'e> {
        let mut sorted = Sorted::default();
        for entry in &folder.entries {
            match Unpacker::peek(entry) {
                Err(error) => sorted.unreadable.push(error),
                Ok(Peek::Archive) => sorted.archives.push(entry),
                Ok(Peek::File(head)) => match recognise(&head).map(|(_, kind)| kind) {
                    Some(Recognition::Lead) => sorted.leads.push(entry),
                    Some(Recognition::Refused) => sorted.refused.push(entry),
                    Some(Recognition::Memory) if entry.len >= MIN_IMAGE_LEN => {
                        sorted.images.push(entry);
                    }
                    Some(Recognition::Guide) => sorted.guides.push(entry),
                    Some(Recognition::Memory) | None => {}
                },
            }
        }
        let wanted = |entry: &&Entry| self.is_wanted(entry);
        if sorted.leads.iter().any(wanted) {
            sorted.leads.retain(wanted);
        }
        sorted.images.sort_by_key(|entry| std::cmp::Reverse(entry.len));
        sorted.images.truncate(MAX_IMAGES);
        sorted
    }

    fn is_wanted(&self, entry: &Entry) -> bool {
        self.wanted.iter().any(|name| name.eq_ignore_ascii_case(entry.base_name()))
    }

    fn look_into_archives(&mut self, archives: &[&Entry], nesting: u32) -> Result<(), OpenError> {
        let Some(nesting) = nesting.checked_sub(1) else { return Ok(()) };
        for entry in archives {
            match entry.open("in the directory").and_then(|source| self.unpacker.unpack(source)) {
                Ok(Content::Archive(inner)) => self.look_into(&inner, nesting)?,
                Ok(Content::File(_)) => {}
                Err(error) => self.failed.push(error),
            }
        }
        Ok(())
    }

    fn try_entry(&mut self, folder: &Folder, entry: &Entry) {
        match self.open_entry(folder, entry) {
            Ok(Some(opened)) => self.opened.push((entry.path.clone(), opened)),
            Ok(None) => {}
            // A file that is no checkpoint after all says nothing of the rest.
            Err(OpenError::NotACheckpoint { looks, .. }) => {
                self.others.push(Other { name: entry.name.clone(), looks });
            }
            Err(error) if error.kind() == ErrorKind::NotACheckpoint => {}
            Err(error) => self.failed.push(error),
        }
    }

    fn open_entry(&self, folder: &Folder, entry: &Entry) -> Result<Option<Opened>, OpenError> {
        pieces::refuse(folder, &entry.name)?;
        let found = format!("in {}", folder.path.display());
        let Some(item) = self.unpacker.open(entry, &found)? else { return Ok(None) };
        let head = item.source.start(crate::source::HEAD_LEN)?;
        let Some((format, _)) = recognise(&head) else { return Ok(None) };
        let lead = Lead { format, item, name: entry.name.clone() };
        let place = Place { folder, name: lead.name };
        let (memory, unpacker) = (self.memory.clone(), self.unpacker);
        let mut opened = lead.format.open(Case { lead: lead.item, memory, place, unpacker })?;
        opened.checkpoint.about_mut().problems.extend(folder.problems.iter().cloned());
        Ok(Some(opened))
    }

    /// The one that could be opened. The others then go to its problems: a
    /// snapshot without memory beside a suspended state is nothing to ask about.
    fn finish(mut self, folder: &Folder) -> Result<Opened, OpenError> {
        let path = folder.path.clone();
        if self.opened.len() > 1 {
            let candidate = |(path, opened): (std::path::PathBuf, Opened)| {
                let snapshot = opened.checkpoint.about.provenance.snapshot.as_ref();
                Candidate { path, snapshot: snapshot.map(|snapshot| snapshot.name.clone()) }
            };
            let choices = self.opened.into_iter().map(candidate).collect();
            return Err(OpenError::Ambiguous { path, choices });
        }
        let Some((_, mut opened)) = self.opened.pop() else {
            let (files, others) = (self.files, self.others);
            let nothing = OpenError::NothingInside { path, files, others };
            return Err(self.failed.into_iter().next().unwrap_or(nothing));
        };
        let notes = self.failed.iter().map(|error| {
            vmss2core_mem::Problem::note(format!("another checkpoint cannot be opened: {error}"))
        });
        opened.checkpoint.about_mut().problems.extend(notes);
        Ok(opened)
    }
}

/// Message about checkpoints that a guide names and that are not there.
fn unmet(entry: &Entry, folder: &Folder) -> Option<OpenError> {
    let source = entry.open("in the directory").ok()?;
    let (format, _) = recognise(&source.start(crate::source::HEAD_LEN).ok()?)?;
    let named = format.named_by(&source).ok()?;
    let is_there = |name: &String| {
        folder.entries.iter().any(|entry| name.eq_ignore_ascii_case(entry.base_name()))
    };
    if named.iter().any(is_there) {
        return None;
    }
    format.unmet(&source, &named)
}

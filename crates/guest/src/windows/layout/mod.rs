//! Where members of `EPROCESS` and `ETHREAD` lie, and how that is known.
//!
//! Asked first is the kernel itself: its debugger data names some offsets, and
//! its own processes and threads show others. What is left comes from published
//! tables, from the row that agrees with all that is known; the build number
//! only decides between rows that agree equally.

mod discover;
mod tables;

use std::collections::BTreeMap;

use vmss2core_mem::{Found, Problem};

use super::Kernel;

pub(super) use discover::short_name;

/// A member of `EPROCESS`, or of `ETHREAD` and the `KTHREAD` that it begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the names are the members'")]
pub enum Member {
    DirectoryTableBase,
    UniqueProcessId,
    ActiveProcessLinks,
    ImageFileName,
    InheritedFromUniqueProcessId,
    CreateTime,
    ExitTime,
    Peb,
    ThreadListHead,
    AuditName,
    InitialStack,
    StackLimit,
    StackBase,
    KernelStack,
    TrapFrame,
    ApcProcess,
    State,
    Teb,
    Cid,
    StartAddress,
    ThreadListEntry,
}

impl Member {
    /// Structure and member, as public symbols name them.
    pub fn name(self) -> &'static str {
        match self {
            Self::DirectoryTableBase => "KPROCESS.DirectoryTableBase",
            Self::UniqueProcessId => "EPROCESS.UniqueProcessId",
            Self::ActiveProcessLinks => "EPROCESS.ActiveProcessLinks",
            Self::ImageFileName => "EPROCESS.ImageFileName",
            Self::InheritedFromUniqueProcessId => "EPROCESS.InheritedFromUniqueProcessId",
            Self::CreateTime => "EPROCESS.CreateTime",
            Self::ExitTime => "EPROCESS.ExitTime",
            Self::Peb => "EPROCESS.Peb",
            Self::ThreadListHead => "EPROCESS.ThreadListHead",
            Self::AuditName => "EPROCESS.SeAuditProcessCreationInfo",
            Self::InitialStack => "KTHREAD.InitialStack",
            Self::StackLimit => "KTHREAD.StackLimit",
            Self::StackBase => "KTHREAD.StackBase",
            Self::KernelStack => "KTHREAD.KernelStack",
            Self::TrapFrame => "KTHREAD.TrapFrame",
            Self::ApcProcess => "KTHREAD.ApcState.Process",
            Self::State => "KTHREAD.State",
            Self::Teb => "KTHREAD.Teb",
            Self::Cid => "ETHREAD.Cid",
            Self::StartAddress => "ETHREAD.StartAddress",
            Self::ThreadListEntry => "ETHREAD.ThreadListEntry",
        }
    }
}

/// Where the sources of a layout may be looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LayoutSource {
    /// Debugger data, then the data itself, then tables.
    #[default]
    All,
    /// Debugger data and the data itself.
    Guest,
    /// Tables, by build number.
    Tables,
}

/// Offsets of members.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    offsets: BTreeMap<Member, Found<u64>>,
    problems: Vec<Problem>,
}

impl Layout {
    pub(super) fn of(kernel: &Kernel, source: LayoutSource) -> Self {
        let mut layout = Self::default();
        let base = if kernel.is_64_bit() { 0x28 } else { 0x18 };
        layout.add(Member::DirectoryTableBase, base, "the same in every Windows");
        if source == LayoutSource::Tables {
            layout.add_tables(kernel);
            return layout;
        }
        discover::processes(kernel, &mut layout);
        discover::threads(kernel, &mut layout);
        if source == LayoutSource::All {
            layout.add_tables(kernel);
        }
        layout
    }

    /// The offset of a member.
    pub fn offset(&self, member: Member) -> Option<u64> {
        self.offsets.get(&member).map(|found| found.value)
    }

    /// All that is known, each with how it was found.
    pub fn offsets(&self) -> impl Iterator<Item = (Member, &Found<u64>)> {
        self.offsets.iter().map(|(member, found)| (*member, found))
    }

    /// Contradictions.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Adds an offset, unless one is known already.
    fn add(&mut self, member: Member, offset: u64, how: &str) {
        self.offsets.entry(member).or_insert_with(|| Found::new(offset, how));
    }

    /// Adds what debugger data says. If the data itself does not agree then
    /// neither is to be trusted more; the first stays, and it is said.
    fn add_stated(&mut self, member: Member, offset: u64, how: &str) {
        match self.offset(member) {
            Some(known) if known != offset => self.problems.push(Problem::warning(format!(
                "{} lies at {known:#x} as the guest's data shows, at {offset:#x} as its debugger \
                 data says",
                member.name()
            ))),
            Some(_) => {}
            None => self.add(member, offset, how),
        }
    }

    fn add_tables(&mut self, kernel: &Kernel) {
        let build = kernel.windows().build.as_ref().map(|build| build.value);
        for table in [tables::processes(kernel.is_64_bit()), tables::threads(kernel.is_64_bit())] {
            let Some((row, how)) = table.row(build, |member| self.offset(member)) else {
                let what = table.what();
                self.problems.push(Problem::note(format!(
                    "no published layout of {what} agrees with this guest: only what it shows \
                     itself is known"
                )));
                continue;
            };
            for (member, offset) in row {
                self.add(member, offset, &how);
            }
        }
    }
}

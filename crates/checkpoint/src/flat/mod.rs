//! A memory image alone: no description, no registers.
//!
//! That is what is left when the state file is lost, and what a running VMware
//! machine keeps its memory in. The image has no signature, so it is taken for
//! one only if page tables are found in it, or the interrupt vectors of a BIOS;
//! where its parts belong is inferred from those tables.

use vmss2core_machine::{About, Checkpoint, Machine, Provenance, SourceFile};
use vmss2core_mem::{Gpa, PAGE_SIZE, Problem};

use crate::companion::Place;
use crate::format::{Case, FORMATS, Format, Recognition};
use crate::source::Source;
use crate::{OpenError, Opened, stranger};
use evidence::Evidence;
use layout::Layout;

mod arch;
mod evidence;
mod layout;

pub(crate) use layout::Hole;

/// Memory images without any description.
pub(crate) struct FlatMemory;

impl Format for FlatMemory {
    fn name(&self) -> &'static str {
        "flat"
    }

    fn recognise(&self, head: &[u8]) -> Option<Recognition> {
        (!head.is_empty()).then_some(Recognition::Memory)
    }

    fn open(&self, case: Case<'_>) -> Result<Opened, OpenError> {
        let source = Case::plain_image(case.lead.source.clone())?;
        if let Some(looks) = stranger::looks(&source)? {
            return Err(OpenError::NotACheckpoint { path: source.path, looks });
        }
        let layouts = Layout::candidates(source.len, holes(&case.place));
        let evidence = arch::survey(&source, &layouts)?;
        let choices = layouts.iter().zip(evidence.iter().copied());
        let Some((layout, seen)) = choices.rev().max_by_key(|(_, seen)| seen.weight()) else {
            return Err(not_memory(source));
        };
        if seen.roots == 0 && !arch::is_memory(&source)? {
            return Err(not_memory(source));
        }
        let mut problems = case.lead.problems;
        problems.push(no_state(&source, &case.place));
        problems.push(explain(&source, &layouts, &evidence, layout));
        let cut_off = cut_off(&source, &case.place);
        problems.extend(cut_off.or_else(|| tables_beyond(&source, layout, seen)));
        let memory = layout.map(&source, &mut problems);
        let about = About {
            machine: Machine { architecture: Some(arch::ARCH), ..Machine::default() },
            provenance: Provenance {
                snapshot: FORMATS.iter().find_map(|format| format.snapshot(&case.place)),
                ..provenance(self.name(), layout, &source)
            },
            problems,
        };
        let checkpoint = Checkpoint::new(memory, Vec::new(), about);
        Ok(Opened { checkpoint, inventory: None })
    }
}

/// The holes that machines of any product have.
fn holes(place: &Place<'_>) -> Vec<Hole> {
    FORMATS.iter().flat_map(|format| format.memory_holes(place)).collect()
}

fn not_memory(source: Source) -> OpenError {
    let looks = format!(
        "no signature, {}; if it is a guest's memory, name its state file too",
        arch::WANTED
    );
    OpenError::NotACheckpoint { path: source.path, looks }
}

/// Evidence that the image has lost its end.
fn cut_off(source: &Source, place: &Place<'_>) -> Option<Problem> {
    let (path, len) = (source.path.display(), source.len);
    let configured = FORMATS.iter().find_map(|format| format.memory_size(place));
    let message = match configured {
        Some((size, how)) if len < size => format!(
            "{path}: its last {:#x} bytes are missing: it has {len:#x}, the machine {size:#x} \
             ({how}); was it cut off while it was copied?",
            size.saturating_sub(len)
        ),
        _ if !len.is_multiple_of(PAGE_SIZE) => format!(
            "{path}: it has {len:#x} bytes, which is no whole number of pages: it was cut off \
             while it was copied"
        ),
        _ => return None,
    };
    Some(Problem::incomplete(message))
}

/// Evidence in page tables.
fn tables_beyond(source: &Source, layout: &Layout, seen: Evidence) -> Option<Problem> {
    Some(Problem::incomplete(format!(
        "{}: memory is missing: page tables in it lead to other tables at {}, and it ends at {}; \
         was it cut off while it was copied?",
        source.path.display(),
        Gpa(seen.beyond?),
        Gpa(layout.end())
    )))
}

fn no_state(source: &Source, place: &Place<'_>) -> Problem {
    Problem::warning(format!(
        "{}: memory alone: no registers, and memory of a running machine changes while it is \
         copied; of the {} other files in {} none is its state file",
        source.path.display(),
        place.siblings().count(),
        place.folder.path.display()
    ))
}

/// How the layout was chosen.
fn explain(source: &Source, layouts: &[Layout], evidence: &[Evidence], chosen: &Layout) -> Problem {
    let path = source.path.display();
    let [_, _, ..] = layouts else {
        return Problem::note(format!("{path}: laid out {chosen}: it ends below any known hole"));
    };
    let seen: Vec<String> = layouts
        .iter()
        .zip(evidence)
        .map(|(layout, e)| format!("{} of {} {layout}", e.good, e.good.saturating_add(e.bad)))
        .collect();
    let seen = format!("pointers of page tables that lead to tables: {}", seen.join(", "));
    let best = evidence.iter().map(Evidence::weight).max();
    if evidence.iter().filter(|e| Some(e.weight()) == best).count() > 1 {
        return Problem::warning(format!(
            "{path}: laid out {chosen} as the likeliest, but no page table proves it ({seen})"
        ));
    }
    Problem::note(format!("{path}: laid out {chosen}, as its page tables show ({seen})"))
}

fn provenance(format: &'static str, layout: &Layout, source: &Source) -> Provenance {
    let (path, found) = (source.path.clone(), source.found.clone());
    Provenance {
        kind: format!("memory image without description, laid out {layout}"),
        format,
        files: vec![SourceFile { path, role: "memory", found }],
        ..Provenance::default()
    }
}

#[cfg(test)]
mod tests;

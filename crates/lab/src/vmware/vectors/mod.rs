//! Small checkpoints that go right or wrong in one way each, and what a reader
//! must make of them. The numbers in the names are those of the list that the
//! format's description closes with.

mod archives;
mod damaged;
mod hostile;
mod sound;

use anyhow::{Result, ensure};

use super::bundle::Named;
use super::emit::{Emitted, Group, Item, emit};
use super::machine::Machine;
use super::memory::Image;
use super::shape::{Placement, Shape};
use super::state;

/// Files, which of them a user would name, and what must come of it.
#[derive(Clone, Debug)]
pub struct Vector {
    /// What it tries, fit for a file name.
    pub name: String,
    /// All files of the folder.
    pub files: Vec<Named>,
    /// The files that are given to the reader.
    pub inputs: Vec<String>,
    /// What must come of it.
    pub expect: Expect,
}

/// What a reader must make of a vector.
#[derive(Clone, Debug)]
pub enum Expect {
    /// It opens.
    Opens(Box<Opens>),
    /// It is refused with a message that holds all of these.
    Fails(Vec<String>),
    /// Refused or opened, but with a word about it; and never with wrong bytes.
    Damaged(Box<Machine>),
    /// Refused or opened: what matters is that it ends soon and in order.
    Survives,
}

/// What an opened vector must hold.
#[derive(Clone, Debug)]
pub struct Opens {
    /// Memory and registers.
    pub machine: Machine,
    /// Which registers can be expected.
    pub registers: Known,
    /// Memory of the machine that the checkpoint lacks.
    pub absent: Vec<(u64, u64)>,
    /// Words of problems that must be reported.
    pub problems: Vec<String>,
}

/// Which registers a checkpoint holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// None.
    Nothing,
    /// Those of [`Cpu`](super::Cpu).
    All,
    /// Those that bare forms have: no hidden parts, MSRs and vectors.
    Bare,
    /// All, without components of XSAVE and MSRs by number.
    Year2012,
    /// Those of a 32-bit processor, without segment bases.
    Narrow,
    /// Those that a debug dump has.
    GuestDump,
    /// The page table root of a 64-bit Arm processor.
    Arm64,
    /// All but the control registers.
    WithoutControl,
    /// All but RBX of the first, which the source states twice and differently.
    WithoutFirstRbx,
}

/// All vectors.
pub fn vectors() -> Result<Vec<Vector>> {
    let mut all = sound::vectors()?;
    all.extend(damaged::vectors()?);
    all.extend(hostile::vectors()?);
    all.extend(archives::vectors()?);
    let mut names: Vec<&str> = all.iter().map(|vector| vector.name.as_str()).collect();
    names.sort_unstable();
    ensure!(names.windows(2).all(|pair| pair.first() != pair.last()), "two vectors of one name");
    Ok(all)
}

impl Vector {
    fn new(name: &str, files: Vec<Named>, expect: Expect) -> Self {
        let inputs = files.first().map(|(name, _)| name.clone()).into_iter().collect();
        Self { name: name.to_owned(), files, inputs, expect }
    }
}

impl Expect {
    fn opens(machine: &Machine, registers: Known) -> Self {
        Self::opens_with(machine, registers, &[])
    }

    fn opens_with(machine: &Machine, registers: Known, problems: &[&str]) -> Self {
        let problems = problems.iter().map(ToString::to_string).collect();
        let machine = machine.clone();
        Self::Opens(Box::new(Opens { machine, registers, absent: Vec::new(), problems }))
    }

    fn lacks(machine: &Machine, absent: (u64, u64), problems: &[&str]) -> Self {
        match Self::opens_with(machine, Known::All, problems) {
            Self::Opens(opens) => Self::Opens(Box::new(Opens { absent: vec![absent], ..*opens })),
            other => other,
        }
    }

    fn fails(words: &[&str]) -> Self {
        Self::Fails(words.iter().map(ToString::to_string).collect())
    }

    fn damaged(machine: &Machine) -> Self {
        Self::Damaged(Box::new(machine.clone()))
    }
}

/// One range of 32 pages and two processors.
fn small() -> Machine {
    Machine::synthetic(&[(0, 0x2_0000)], 2)
}

/// A checkpoint file with its groups changed before they are laid out.
fn changed(
    machine: &Machine,
    shape: &Shape,
    change: impl FnOnce(&mut Vec<Group>),
) -> Result<(Emitted, Vec<Named>)> {
    let image = Image::new(machine, shape)?;
    let mut groups = state::groups(machine, shape, "x", &image)?;
    change(&mut groups);
    let state = emit(state::header(shape), &groups)?;
    let mut files = vec![(format!("x.{}", shape.extension()), state.contents.clone())];
    if shape.placement == Placement::Split {
        files.push(("x.vmem".to_owned(), image.packed));
    }
    Ok((state, files))
}

/// A checkpoint as the shape has it.
fn plain(machine: &Machine, shape: &Shape) -> Result<(Emitted, Vec<Named>)> {
    changed(machine, shape, |_| {})
}

/// The first file of `files` with bytes replaced.
fn patched(mut files: Vec<Named>, at: u64, bytes: &[u8]) -> Vec<Named> {
    if let Some((_, contents)) = files.first_mut() {
        contents.patch(at, bytes);
    }
    files
}

/// The first file of `files`, cut short.
fn cut(mut files: Vec<Named>, len: u64) -> Vec<Named> {
    if let Some((_, contents)) = files.first_mut() {
        *contents = contents.truncated(len);
    }
    files
}

fn monolithic() -> Shape {
    Shape { placement: Placement::Monolithic, ..Shape::default() }
}

/// Changes the items of the first group of this name.
fn in_group(groups: &mut [Group], name: &str, change: impl FnOnce(&mut Vec<Item>)) {
    if let Some(group) = groups.iter_mut().find(|group| group.name == name) {
        change(&mut group.items);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_vector_can_be_made_and_named() {
        let vectors = vectors().unwrap();
        assert!(vectors.len() > 80, "{}", vectors.len());
        for number in 1..=22 {
            let prefix = format!("{number:02}-");
            assert!(vectors.iter().any(|v| v.name.starts_with(&prefix)), "no vector {number}");
        }
    }
}

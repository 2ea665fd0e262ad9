//! The ways through a function: in which states its code comes to an instruction.

use std::collections::HashMap;
use std::ops::Range;

use vmss2core_mem::{Gva, to_page_end};

use super::instruction::{self, Effect, decode};
use super::state::State;
use crate::linux::Kernel;

/// The longest function that is looked through.
const MOST_CODE: u64 = 64 << 10;
/// More instructions than the longest way through a function has.
const MOST_STEPS: usize = 1 << 14;
/// More states at one instruction say that what was taken for code is none.
const MOST_STATES: usize = 4;
/// Entries of a table of jumps.
const MOST_JUMPS: u64 = 512;

/// What was found out about a function.
#[derive(Debug, Default)]
pub(super) struct Explored {
    /// States in which a call returns to the goal.
    pub(super) after_call: Vec<State>,
    /// States in which the goal is reached, whatever is before it.
    pub(super) states: Vec<State>,
    /// Where it jumps to that is not in it.
    pub(super) leaves_to: Vec<u64>,
}

/// Follows the code of a function to an instruction, on all ways.
pub(super) fn explore(kernel: &Kernel, function: &Range<u64>, goal: u64) -> Explored {
    let start = function.start;
    let Some(code) = code(kernel, function, goal) else { return Explored::default() };
    let is_64_bit = kernel.linux().is_64_bit;
    let mut explorer = Explorer {
        kernel,
        start,
        code,
        goal,
        is_64_bit,
        seen: HashMap::new(),
        ways: vec![(start, State::entered(is_64_bit))],
        found: Explored::default(),
        left: MOST_STEPS,
    };
    while let Some((at, state)) = explorer.ways.pop() {
        explorer.follow(at, state);
    }
    explorer.found
}

/// The code of a function; of one whose end is not known perhaps only that to the goal.
fn code(kernel: &Kernel, function: &Range<u64>, goal: u64) -> Option<Vec<u8>> {
    let last = Some(goal).filter(|goal| function.contains(goal)).unwrap_or(function.start);
    let ends = [function.end, last.saturating_add(to_page_end(last))];
    ends.into_iter().find_map(|end| {
        let len = end.checked_sub(function.start)?.min(MOST_CODE);
        let mut code = vec![0; usize::try_from(len).ok()?];
        kernel.read(Gva(function.start), &mut code, "code").ok()?;
        Some(code)
    })
}

struct Explorer<'k> {
    kernel: &'k Kernel,
    start: u64,
    code: Vec<u8>,
    goal: u64,
    is_64_bit: bool,
    seen: HashMap<u64, Vec<State>>,
    ways: Vec<(u64, State)>,
    found: Explored,
    left: usize,
}

impl Explorer<'_> {
    /// Follows one way to where it ends, or has been before.
    fn follow(&mut self, mut at: u64, mut state: State) {
        while self.is_new(at, state) {
            if at == self.goal {
                add(&mut self.found.states, state);
            }
            let Some(code) = self.code_at(at) else { return };
            let Some(found) = decode(code, at, self.is_64_bit) else { return };
            let next = at.wrapping_add(found.len as u64);
            match found.effect {
                Effect::Call(_) if next == self.goal => add(&mut self.found.after_call, state),
                Effect::Branch(to) => self.go(to, state),
                // A task that is switched to goes on where its pointer says.
                Effect::StoreNumber { number, .. } if self.holds(number) => self.go(number, state),
                Effect::Jump(to) => return self.go(to, state),
                Effect::JumpTable(table) => return self.go_by_table(table, state),
                Effect::End => return,
                effect => state = state.after(effect),
            }
            at = next;
        }
    }

    fn is_new(&mut self, at: u64, state: State) -> bool {
        let Some(left) = self.left.checked_sub(1) else { return false };
        self.left = left;
        let seen = self.seen.entry(at).or_default();
        let is_new = seen.len() < MOST_STATES && !seen.contains(&state);
        if is_new {
            seen.push(state);
        }
        is_new
    }

    fn go(&mut self, to: u64, state: State) {
        if self.holds(to) {
            if self.ways.len() < MOST_STEPS {
                self.ways.push((to, state));
            }
        } else {
            add(&mut self.found.leaves_to, to);
        }
    }

    fn go_by_table(&mut self, table: u64, state: State) {
        let word_len = self.kernel.word_len();
        let mut at = table;
        for _ in 0..MOST_JUMPS {
            let to = self.kernel.read_pointer(Gva(at), "table of jumps");
            let Some(to) = to.ok().filter(|to| self.holds(to.0)) else { return };
            self.go(to.0, state);
            at = at.wrapping_add(word_len);
        }
    }

    fn holds(&self, at: u64) -> bool {
        at.checked_sub(self.start).is_some_and(|into| into < self.code.len() as u64)
    }

    fn code_at(&self, at: u64) -> Option<&[u8]> {
        let from = usize::try_from(at.checked_sub(self.start)?).ok()?;
        let rest = self.code.get(from..)?;
        rest.get(..rest.len().min(instruction::LONGEST))
    }
}

fn add<T: PartialEq>(list: &mut Vec<T>, one: T) {
    if !list.contains(&one) {
        list.push(one);
    }
}

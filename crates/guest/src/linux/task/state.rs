//! The state of a task, as a letter.
//!
//! The kernel's `task_state_index` and its table of letters (fs/proc/array.c,
//! include/linux/sched.h). Bits of the state have been moved three times; which
//! kernel this is shows in its members, not in its number.

use super::TaskState;

const INTERRUPTIBLE: u64 = 1;
const UNINTERRUPTIBLE: u64 = 2;
const STOPPED: u64 = 4;
const TRACED: u64 = 8;
/// `EXIT_DEAD` and `EXIT_ZOMBIE`; before 3.14 they were the other way round.
const EXIT: u64 = 0x30;
const ZOMBIE: u64 = 0x20;
const OLD_ZOMBIE: u64 = 0x10;
const PARKED: u64 = 0x40;
/// `TASK_DEAD` since 4.14.
const DEAD: u64 = 0x80;
/// Asleep for a long time: not counted for the load average (4.14 and later).
const IDLE: u64 = 0x402;
/// `TASK_RTLOCK_WAIT`, reported as an uninterruptible sleep.
const LOCK_WAIT: u64 = 0x1000;
/// `TASK_FROZEN` (6.1 and later), likewise. Set instead of the sleep's own bits.
const FROZEN: u64 = 0x8000;

/// `TASK_WAKING`: woken by another processor, and not in a queue yet; likewise
/// `TASK_NEW`. To `ps` such tasks run. The first meant parked before 4.14.
const WAKING: u64 = 0x200;
const NEW: u64 = 0x800;

/// Meaning of the bits: which of two a zombie has in `exit_state`, and which mean that a task
/// is about to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bits {
    /// Since 4.14.
    Latest,
    /// Since 3.14, which also brought `task_struct.thread_node`.
    Current,
    /// Before.
    Old,
    /// In 2.4, which has no `exit_state`.
    Oldest,
    /// The layout does not tell. What has only the bit of the other is dead: it
    /// is in no list any more, so it counts as a zombie.
    Unknown,
}

impl TaskState {
    /// The state from the kernel's two variables; `exit` is `None` if its place is
    /// not known.
    pub(super) fn new(state: u64, exit: Option<u64>, bits: Bits) -> Self {
        let exit = exit.unwrap_or(0);
        Self { letter: letter(state, exit, bits), bits: state | exit }
    }

    /// The state of a kernel whose `exit_state` is not known, or that has none (to 2.6.8). One
    /// bit meant that a task is a zombie and one that it is stopped, either way round: what
    /// is stopped has memory of its own, a zombie has none any more.
    pub(super) fn without_exit(state: u64, has_memory: bool, bits: Bits) -> Self {
        let letter = match (state & (STOPPED | TRACED) != 0, has_memory) {
            (true, false) => 'Z',
            (true, true) if bits == Bits::Oldest => 'T',
            _ => letter(state, 0, bits),
        };
        Self { letter, bits: state }
    }
}

/// First what ends a task: its `state` has a bit for it too, which was another
/// one's before 4.14.
fn letter(state: u64, exit: u64, bits: Bits) -> char {
    let zombie = match bits {
        Bits::Latest | Bits::Current => ZOMBIE,
        Bits::Old | Bits::Oldest => OLD_ZOMBIE,
        Bits::Unknown => EXIT,
    };
    if exit & EXIT != 0 {
        return if exit & zombie == 0 { 'X' } else { 'Z' };
    }
    if state & IDLE == IDLE {
        return 'I';
    }
    if state & (LOCK_WAIT | FROZEN) != 0 {
        return 'D';
    }
    // The highest bit decides, as in the kernel.
    let letters = [
        (DEAD, 'X'),
        (PARKED, 'P'),
        (ZOMBIE, 'Z'),
        (OLD_ZOMBIE, 'X'),
        (TRACED, 't'),
        (STOPPED, 'T'),
        (UNINTERRUPTIBLE, 'D'),
        (INTERRUPTIBLE, 'S'),
    ];
    let found = letters.iter().find(|(bit, _)| state & bit != 0);
    let is_to_run = state == 0 || bits == Bits::Latest && state & !(WAKING | NEW) == 0;
    found.map_or(if is_to_run { 'R' } else { '?' }, |(_, letter)| *letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(state: u64, exit: u64) -> char {
        TaskState::new(state, Some(exit), Bits::Latest).letter
    }

    #[test]
    fn letters_are_those_of_ps() {
        for (state, letter) in [
            (0, 'R'),
            // TASK_WAKING and TASK_NEW.
            (0x200, 'R'),
            (0x800, 'R'),
            (1, 'S'),
            (2, 'D'),
            (4, 'T'),
            (8, 't'),
            (0x40, 'P'),
            (0x402, 'I'),
            (0x1002, 'D'),
            (0x8000, 'D'),
            // TASK_KILLABLE, TASK_STOPPED and TASK_FREEZABLE are combinations.
            (0x102, 'D'),
            (0x104, 'T'),
            (0x2001, 'S'),
        ] {
            assert_eq!(of(state, 0), letter, "{state:#x}");
        }
    }

    #[test]
    fn what_has_ended_is_told_by_its_exit_state() {
        assert_eq!(of(0x80, 0x20), 'Z');
        assert_eq!(of(0x80, 0x10), 'X');
        // EXIT_TRACE: a zombie that its tracer has been told of.
        assert_eq!(of(0x80, 0x30), 'Z');
        assert_eq!(of(0x40, 0x20), 'Z', "TASK_DEAD was 0x40 before 4.14");
        assert_eq!(of(0x80, 0), 'X', "before it is a zombie");
    }

    #[test]
    fn old_kernels_have_the_exit_bits_the_other_way_round() {
        assert_eq!(TaskState::new(64, Some(16), Bits::Old).letter, 'Z');
        assert_eq!(TaskState::new(64, Some(32), Bits::Old).letter, 'X');
        assert_eq!(TaskState::new(64, Some(16), Bits::Unknown).letter, 'Z');
        assert_eq!(TaskState::new(64, Some(32), Bits::Unknown).letter, 'Z');
    }

    /// Zombies had the bit 4 in 2.4 and 8 in the first kernels of 2.6; stopped ones the other.
    #[test]
    fn what_is_stopped_has_memory_and_a_zombie_has_none() {
        let of = |state, has_memory, bits| TaskState::without_exit(state, has_memory, bits).letter;
        for bit in [4, 8] {
            assert_eq!(of(bit, false, Bits::Oldest), 'Z');
            assert_eq!(of(bit, true, Bits::Oldest), 'T');
            assert_eq!(of(bit, false, Bits::Unknown), 'Z');
        }
        assert_eq!((of(4, true, Bits::Unknown), of(8, true, Bits::Unknown)), ('T', 't'));
        let asleep = [0, 1, 2].map(|state| of(state, false, Bits::Oldest));
        assert_eq!(asleep, ['R', 'S', 'D']);
    }

    #[test]
    fn bits_that_say_nothing_make_no_letter() {
        assert_eq!(of(0x4_0000, 0), '?');
        for bits in [Bits::Current, Bits::Old, Bits::Unknown] {
            assert_eq!(TaskState::new(0x200, Some(0), bits).letter, '?', "it may be parked");
        }
        assert_eq!(TaskState::new(1, None, Bits::Current).bits, 1);
    }
}

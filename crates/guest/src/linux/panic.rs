//! Why the kernel stopped, if it did, and what went wrong before.

use vmss2core_mem::Found;

use super::{Frame, FrameKind, Kernel, Log, Record};

/// Signs of a kernel's trouble, worst first (kernel/panic.c,
/// lib/bug.c, arch/x86/kernel/dumpstack.c, kernel/watchdog.c, kernel/hung_task.c).
const SIGNS: [(Trouble, &[&str]); 4] = [
    (Trouble::Panic, &["Kernel panic - not syncing"]),
    (
        Trouble::Oops,
        &[
            "Oops: ",
            "kernel BUG at ",
            "BUG: unable to handle ",
            "BUG: kernel NULL pointer dereference",
            "general protection fault",
            "double fault",
            "invalid opcode: ",
        ],
    ),
    (
        Trouble::Lockup,
        &["BUG: soft lockup", "hard LOCKUP", "detected stalls on", "self-detected stall"],
    ),
    (Trouble::HungTask, &["INFO: task "]),
];

/// Kinds of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trouble {
    /// The kernel gave up.
    Panic,
    /// An error in the kernel ended a task.
    Oops,
    /// A CPU did not get around to anything else for long.
    Lockup,
    /// A task waited for long.
    HungTask,
}

impl Trouble {
    /// In a word or two.
    pub fn name(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::Oops => "oops",
            Self::Lockup => "lockup",
            Self::HungTask => "hung task",
        }
    }
}

/// Why the kernel stopped, and what state it was in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stopped {
    /// The worst trouble that the log tells of, the first of its kind; `None`
    /// if it tells of none.
    pub trouble: Option<Found<(Trouble, String)>>,
    /// The CPU that gave up.
    pub panic_cpu: Option<Found<u32>>,
    /// Taints of the kernel: the letters that its own messages have.
    pub taint: Option<Found<String>>,
}

impl Kernel {
    /// Why the kernel stopped, as far as its variables and its log show.
    pub fn stopped(&self, log: Option<&Log>) -> Stopped {
        let records = log.map(|log| log.records.as_slice()).unwrap_or_default();
        let trouble = trouble(records);
        let index = trouble.as_ref().map(|(index, _, _)| *index);
        let behind = index.and_then(|index| records.get(index..)).unwrap_or_default();
        let panicked = trouble.as_ref().is_some_and(|(_, trouble, _)| *trouble == Trouble::Panic);
        Stopped {
            panic_cpu: self.panic_cpu(behind, panicked),
            taint: self.taint().or_else(|| taint_line(behind)),
            trouble: trouble
                .map(|(_, trouble, text)| Found::new((trouble, text), "the kernel's log")),
        }
    }

    /// The CPU that gave up: `panic_cpu` (since 4.5) is -1 while there is none. Older
    /// kernels have `crashing_cpu`, which is set only if a second kernel was to be
    /// started, and was 0 from the start before 3.x; so a 0 there says nothing.
    fn panic_cpu(&self, behind: &[Record], panicked: bool) -> Option<Found<u32>> {
        let by_crash = || self.variable("crashing_cpu").filter(|cpu| tells(cpu.value, panicked));
        let by_log = || cpu_line(behind).filter(|_| panicked);
        let by_stack = || if panicked { self.cpu_in_panic() } else { None };
        self.variable("panic_cpu").or_else(by_crash).or_else(by_log).or_else(by_stack)
    }

    /// A variable with the number of a CPU.
    fn variable(&self, name: &str) -> Option<Found<u32>> {
        let symbol = self.symbol(name).ok()?;
        let value = self.read_uint(symbol.value, 4, name).ok()?;
        let cpu = u32::try_from(value).ok().filter(|cpu| *cpu < 1 << 16)?;
        Some(Found::new(cpu, format!("{name}, {}", symbol.how)))
    }

    /// The only CPU on whose stack `panic` is for sure.
    fn cpu_in_panic(&self) -> Option<Found<u32>> {
        let panics = |vcpu: &u32| {
            let stack = self.backtrace_of_vcpu(*vcpu);
            stack.is_ok_and(|stack| stack.frames.iter().any(|frame| self.is_panic(frame)))
        };
        let mut vcpus = self.checkpoint().vcpus.iter().map(|vcpu| vcpu.index).filter(panics);
        let vcpu = vcpus.next().filter(|_| vcpus.next().is_none())?;
        Some(Found::new(self.logical_cpu(vcpu)?, "the stack that panic is on"))
    }

    fn is_panic(&self, frame: &Frame) -> bool {
        let place = self.symbolize(frame.code_address());
        frame.kind != FrameKind::Guess && place.is_some_and(|place| place.name == "panic")
    }

    fn taint(&self) -> Option<Found<String>> {
        let symbol = self.symbol("tainted_mask").ok()?;
        let mask = self.read_uint(symbol.value, self.word_len(), "tainted_mask").ok()?;
        Some(Found::new(taint_letters(mask), format!("tainted_mask, {}", symbol.how)))
    }
}

/// Whether a value of `crashing_cpu` was set by a panic.
fn tells(crashing_cpu: u32, panicked: bool) -> bool {
    crashing_cpu != 0 && panicked
}

/// Letters of `taint_flags` (kernel/panic.c), by bit. Bit 0 has another one,
/// `G`, where it is not set.
const TAINTS: [(char, &str); 20] = [
    ('P', "proprietary module was loaded"),
    ('F', "module was force loaded"),
    ('S', "system is out of specification"),
    ('R', "module was force unloaded"),
    ('M', "machine check exception happened"),
    ('B', "bad page was found"),
    ('U', "userspace asked for it"),
    ('D', "kernel died before (oops or BUG)"),
    ('A', "ACPI table was overridden"),
    ('W', "kernel issued a warning"),
    ('C', "staging driver was loaded"),
    ('I', "workaround for a firmware bug"),
    ('O', "out-of-tree module was loaded"),
    ('E', "unsigned module was loaded"),
    ('L', "soft lockup happened"),
    ('K', "kernel was live patched"),
    ('X', "auxiliary taint of the distributor"),
    ('T', "structure layouts are randomised"),
    ('N', "in-kernel test was run"),
    ('J', "firmware was changed through fwctl"),
];

/// The letters of a mask's bits; for bits of the future their numbers.
pub(super) fn taint_letters(mask: u64) -> String {
    let bits = (0..64).filter(|bit| mask >> bit & 1 == 1);
    let name = |bit: usize| {
        TAINTS.get(bit).map_or_else(|| format!("({bit})"), |(letter, _)| letter.to_string())
    };
    bits.map(name).collect()
}

/// The meaning of a letter of [`Stopped::taint`] or of a module's taints.
pub fn taint_meaning(letter: char) -> Option<&'static str> {
    TAINTS.iter().find(|(known, _)| *known == letter).map(|(_, meaning)| *meaning)
}

/// The first record of the worst trouble: what comes later is what it led to.
fn trouble(records: &[Record]) -> Option<(usize, Trouble, String)> {
    let is_of_kernel =
        |record: &&(usize, &Record)| record.1.facility.is_none_or(|facility| facility == 0);
    let own: Vec<(usize, &Record)> = records
        .iter()
        .enumerate()
        .collect::<Vec<_>>()
        .iter()
        .filter(is_of_kernel)
        .copied()
        .collect();
    SIGNS.iter().find_map(|(trouble, signs)| {
        own.iter().find_map(|(index, record)| {
            let line = record.text.lines().find(|line| tells_of(*trouble, signs, line))?;
            Some((*index, *trouble, line.to_owned()))
        })
    })
}

fn tells_of(trouble: Trouble, signs: &[&str], line: &str) -> bool {
    let sign = signs.iter().any(|sign| line.contains(sign));
    match trouble {
        Trouble::Panic => sign && !line.starts_with("---[ end"),
        Trouble::HungTask => sign && line.contains(" blocked for more than "),
        _ => sign,
    }
}

/// `CPU: 1 PID: 1 Comm: init Not tainted 6.1.0`, soon after the trouble.
fn cpu_line(records: &[Record]) -> Option<Found<u32>> {
    let mut lines = records.iter().take(20).flat_map(|record| record.text.lines());
    let cpu = lines
        .find_map(|line| line.split_once("CPU: ")?.1.split_whitespace().next()?.parse().ok())?;
    Some(Found::new(cpu, "the kernel's log"))
}

/// `Tainted: G        W         ` or `Not tainted` of the same line.
fn taint_line(records: &[Record]) -> Option<Found<String>> {
    let mut lines = records.iter().take(20).flat_map(|record| record.text.lines());
    let letters = lines.find_map(|line| {
        if line.contains(" Not tainted ") {
            return Some(String::new());
        }
        let words = line.split_once(" Tainted: ")?.1.split(' ').filter(|word| !word.is_empty());
        let is_flag = |word: &&str| {
            word.chars().all(|c| c.is_ascii_uppercase()) && word.len() <= TAINTS.len()
        };
        let letters: String = words.take_while(is_flag).collect();
        Some(letters.chars().filter(|letter| *letter != 'G').collect())
    })?;
    Some(Found::new(letters, "the kernel's log"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(lines: &[&str]) -> Vec<Record> {
        let record = |line: &&str| Record { text: (*line).to_owned(), ..Record::default() };
        lines.iter().map(record).collect()
    }

    #[test]
    fn the_worst_trouble_counts_and_the_first_of_its_kind() {
        let records = log(&[
            "INFO: task dd:77 blocked for more than 120 seconds.",
            "BUG: kernel NULL pointer dereference, address: 0000000000000008",
            "Oops: 0002 [#1] PREEMPT SMP PTI",
            "CPU: 3 PID: 77 Comm: dd Tainted: G        W  O       6.1.0 #1",
            "Kernel panic - not syncing: Fatal exception",
            "---[ end Kernel panic - not syncing: Fatal exception ]---",
        ]);
        let (index, kind, line) = trouble(&records).unwrap();
        assert_eq!((index, kind), (4, Trouble::Panic));
        assert_eq!(line, "Kernel panic - not syncing: Fatal exception");
        let (index, kind, _) = trouble(&records[..4]).unwrap();
        assert_eq!((index, kind), (1, Trouble::Oops));
        let (_, kind, _) = trouble(&records[..1]).unwrap();
        assert_eq!(kind, Trouble::HungTask);
        assert!(trouble(&log(&["INFO: task is fine", "all well"])).is_none());
    }

    #[test]
    fn what_programs_write_to_the_log_is_no_trouble() {
        let mut records = log(&["Kernel panic - not syncing: not really"]);
        records[0].facility = Some(1);
        assert!(trouble(&records).is_none());
    }

    #[test]
    fn the_line_behind_the_trouble_names_cpu_and_taint() {
        let records =
            log(&["Oops", "CPU: 3 PID: 77 Comm: dd Tainted: G        W  O       6.1.0 #1"]);
        assert_eq!(cpu_line(&records).map(|cpu| cpu.value), Some(3));
        assert_eq!(taint_line(&records).map(|taint| taint.value).as_deref(), Some("WO"));
        let records = log(&["CPU: 0 PID: 1 Comm: init Not tainted 6.1.0 #1"]);
        assert_eq!(taint_line(&records).map(|taint| taint.value).as_deref(), Some(""));
        assert!(taint_line(&log(&["nothing"])).is_none());
    }

    #[test]
    fn a_crashing_cpu_of_0_or_without_a_panic_says_nothing() {
        assert!(tells(1, true));
        assert!(!tells(0, true) && !tells(0, false) && !tells(1, false));
    }

    #[test]
    fn taint_bits_have_letters() {
        assert_eq!(taint_letters(0), "");
        assert_eq!(taint_letters(1 | 1 << 9 | 1 << 12), "PWO");
        assert_eq!(taint_letters(1 << 40), "(40)");
        assert_eq!(taint_meaning('W'), Some("kernel issued a warning"));
        assert_eq!(taint_meaning('G'), None);
    }
}

//! Which processes the user means.

use anyhow::bail;
use vmss2core::{AskError, Which};
use vmss2core_answers::printable;
use vmss2core_guest::linux::{NoProcess, Task, process_meant, thread_of_process};
use vmss2core_mem::Problem;

use crate::args::Wanted;

/// How many others are named where nothing fits.
const SUGGESTIONS: usize = 5;

/// A process to write a core of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chosen<'t> {
    /// The number that it was asked for by.
    pub(super) number: u32,
    /// The thread that comes first.
    pub(super) task: &'t Task,
}

impl Chosen<'_> {
    /// Says that the number which was given is a thread's.
    pub(super) fn threads_number(&self) -> Option<Problem> {
        let is_asked_for = self.task.tid == self.number;
        let said = thread_of_process(self.task).filter(|_| is_asked_for)?;
        Some(Problem::note(printable(&said)))
    }
}

/// The processes to write cores of, each once, and a thread of each. A process that
/// has no memory is an error if it was named by number or is all there is.
pub(super) fn chosen<'t>(
    tasks: &'t [Task],
    wanted: &[Wanted],
    problems: &mut Vec<Problem>,
) -> anyhow::Result<Vec<Chosen<'t>>> {
    let mut chosen: Vec<Chosen<'_>> = Vec::new();
    for wanted in wanted {
        let found = match wanted {
            Wanted::One(Which::Number(number)) => vec![by_number(tasks, *number)?],
            Wanted::One(Which::Name(name)) => vec![one_by_name(tasks, name)?],
            Wanted::All(name) => by_name(tasks, name, problems)?,
        };
        for one in found {
            if !chosen.iter().any(|other| other.task.tid == one.task.tid) {
                chosen.push(one);
            }
        }
    }
    Ok(chosen)
}

fn by_number(tasks: &[Task], number: u32) -> anyhow::Result<Chosen<'_>> {
    match process_meant(tasks, number) {
        Ok(task) => Ok(Chosen { number, task }),
        Err(refused @ NoProcess::Unknown(_)) => bail!("{refused}{}", near(tasks, number)),
        Err(refused) => bail!("{refused}"),
    }
}

/// The process of a name, if there is no other that could be meant.
fn one_by_name<'t>(tasks: &'t [Task], name: &str) -> anyhow::Result<Chosen<'t>> {
    match by_name(tasks, name, &mut Vec::new())?.as_slice() {
        [one] => Ok(*one),
        several => bail!(
            "the guest has {} processes that are called {}: {}; give the number of one, or --name \
             for all",
            several.len(),
            printable(name),
            several.iter().map(|one| one.number.to_string()).collect::<Vec<_>>().join(", ")
        ),
    }
}

/// All processes of a name. What has ended or belongs to the kernel is left out
/// if there are others.
fn by_name<'t>(
    tasks: &'t [Task],
    name: &str,
    problems: &mut Vec<Problem>,
) -> anyhow::Result<Vec<Chosen<'t>>> {
    let (mut found, mut refusals) = (Vec::new(), Vec::new());
    for leader in tasks.iter().filter(|task| task.is_leader() && task.is_called(name)) {
        match process_meant(tasks, leader.tid) {
            Ok(task) => found.push(Chosen { number: leader.tid, task }),
            // An idle task is none that a user means.
            Err(NoProcess::Unknown(_)) => {}
            Err(refused) => refusals.push(refused.to_string()),
        }
    }
    match (found.is_empty(), refusals.is_empty()) {
        (true, true) => {
            let absent = AskError::NoProcess(Which::Name(name.to_owned()));
            bail!("{absent}{}", similar(tasks, name))
        }
        (true, false) => bail!("{}", refusals.join("\n")),
        _ => problems.extend(refusals.into_iter().map(Problem::warning)),
    }
    Ok(found)
}

/// Processes that a core can be written of.
fn candidates(tasks: &[Task]) -> impl Iterator<Item = &Task> {
    let leaders = tasks.iter().filter(|task| task.is_leader());
    leaders.filter(|leader| process_meant(tasks, leader.tid).is_ok())
}

/// The processes whose numbers come closest.
fn near(tasks: &[Task], number: u32) -> String {
    let mut others: Vec<&Task> = candidates(tasks).collect();
    others.sort_by_key(|task| (task.tid.abs_diff(number), task.tid));
    list("the nearest are", &others)
}

/// The processes whose names are alike.
fn similar(tasks: &[Task], name: &str) -> String {
    let mut others: Vec<(usize, &Task)> = candidates(tasks)
        .map(|task| (distance(name, &task.comm), task))
        .filter(|(distance, _)| *distance <= 2.max(name.chars().count() / 3))
        .collect();
    others.sort_by_key(|(distance, task)| (*distance, task.tid));
    let others: Vec<&Task> = others.into_iter().map(|(_, task)| task).collect();
    if others.is_empty() {
        "; vmss2core ps lists all".to_owned()
    } else {
        list("names like it:", &others)
    }
}

fn list(title: &str, tasks: &[&Task]) -> String {
    let mut names: Vec<String> = Vec::new();
    for task in tasks.iter().take(SUGGESTIONS) {
        names.push(format!("{} ({})", task.tid, printable(&task.comm)));
    }
    if names.is_empty() {
        return String::new();
    }
    format!("; {title} {}; vmss2core ps lists all", names.join(", "))
}

/// How many letters must be changed, added or taken away; a part of the name is
/// as good as one letter.
fn distance(wanted: &str, name: &str) -> usize {
    let wanted: String = wanted.to_lowercase().chars().take(64).collect();
    let name = name.to_lowercase();
    if !wanted.is_empty() && name.contains(&wanted) {
        return 1;
    }
    strsim::osa_distance(&wanted, &name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmss2core_guest::linux::TaskState;
    use vmss2core_mem::Gva;

    fn task(tid: u32, comm: &str, letter: char) -> Task {
        Task {
            gva: Gva(u64::from(tid)),
            tid,
            pid: tid,
            ppid: None,
            uid: None,
            gid: None,
            comm: comm.into(),
            long_name: None,
            state: Some(TaskState { letter, bits: 0 }),
            mm: (letter != 'Z' && letter != 'I').then_some(Gva(1)),
            is_kernel_thread: letter == 'I',
            stack: None,
            start_ns: None,
            cpu: None,
            on_vcpu: None,
        }
    }

    fn guest() -> Vec<Task> {
        let mut thread = task(93, "nginx", 'S');
        thread.pid = 92;
        vec![
            task(1, "init", 'S'),
            task(2, "kthreadd", 'I'),
            task(90, "sshd", 'S'),
            task(92, "nginx", 'S'),
            thread,
            task(94, "nginx", 'R'),
            task(95, "nginx", 'Z'),
            // The main thread has ended, another goes on.
            task(96, "cron", 'Z'),
            Task { pid: 96, ..task(97, "worker", 'S') },
            task(0, "swapper/0", 'I'),
        ]
    }

    fn chosen(wanted: &[Wanted]) -> Result<(Vec<u32>, Vec<String>), String> {
        let guest = guest();
        let mut problems = Vec::new();
        let found =
            super::chosen(&guest, wanted, &mut problems).map_err(|error| format!("{error:#}"))?;
        let messages = problems.into_iter().map(|problem| problem.message).collect();
        Ok((found.iter().map(|one| one.task.tid).collect(), messages))
    }

    fn name(name: &str) -> Wanted {
        Wanted::All(name.into())
    }

    fn number(number: u32) -> Wanted {
        Wanted::One(Which::Number(number))
    }

    #[test]
    fn one_process_may_be_named_if_there_is_no_other_of_that_name() {
        let one = |name: &str| chosen(&[Wanted::One(Which::Name(name.into()))]);
        assert_eq!(one("sshd").unwrap().0, [90]);
        // The one whose main thread has ended goes on in another.
        assert_eq!(one("cron").unwrap().0, [97]);
        let said = one("nginx").unwrap_err();
        let several = "the guest has 2 processes that are called nginx: 92, 94; ";
        assert!(said.starts_with(several), "{said}");
        assert!(
            one("ssh").unwrap_err().ends_with("; names like it: 90 (sshd); vmss2core ps lists all")
        );
        assert!(one("kthreadd").unwrap_err().contains("is a thread of the kernel"));
    }

    #[test]
    fn a_threads_number_is_told() {
        let guest = guest();
        let said = |wanted| {
            let found = super::chosen(&guest, &[wanted], &mut Vec::new()).unwrap();
            found[0].threads_number().map(|problem| problem.message)
        };
        assert_eq!(said(number(93)).unwrap(), "93 (nginx) is a thread of process 92");
        assert_eq!(said(number(92)), None);
        assert_eq!(said(name("cron")), None);
    }

    #[test]
    fn processes_are_chosen_by_number_and_by_name_and_once() {
        assert_eq!(chosen(&[number(93)]).unwrap().0, [93]);
        let (found, problems) = chosen(&[number(94), name("nginx"), name("init")]).unwrap();
        assert_eq!(found, [94, 92, 1]);
        assert_eq!(problems, ["95 (nginx) has ended, and its memory is gone"]);
    }

    #[test]
    fn a_process_whose_main_thread_has_ended_is_a_process() {
        for wanted in [number(96), number(97), name("cron")] {
            assert_eq!(chosen(&[wanted]).unwrap().0, [97]);
        }
        let guest = guest();
        let found = super::chosen(&guest, &[name("cron")], &mut Vec::new()).unwrap();
        assert_eq!(found.first().unwrap().number, 96);
    }

    #[test]
    fn what_has_no_memory_is_refused_with_a_reason() {
        for (wanted, want) in [
            (number(2), "2 (kthreadd) is a thread of the kernel"),
            (number(95), "95 (nginx) has ended"),
            (name("kthreadd"), "2 (kthreadd) is a thread of the kernel"),
            (number(0), "the guest has no process or thread 0"),
        ] {
            let said = chosen(&[wanted]).unwrap_err();
            assert!(said.starts_with(want), "{said}");
        }
    }

    #[test]
    fn others_are_suggested_for_what_is_not_there() {
        let said = chosen(&[number(91)]).unwrap_err();
        assert!(
            said.ends_with("; the nearest are 90 (sshd), 92 (nginx), 94 (nginx), 96 (cron), 1 (init); vmss2core ps lists all"),
            "{said}"
        );
        for (wanted, want) in [
            ("ngnix", "; names like it: 92 (nginx), 94 (nginx); vmss2core ps lists all"),
            ("ssh", "; names like it: 90 (sshd); vmss2core ps lists all"),
            ("Init", "; names like it: 1 (init); vmss2core ps lists all"),
            ("postgres", "; vmss2core ps lists all"),
        ] {
            let said = chosen(&[name(wanted)]).unwrap_err();
            assert!(said.ends_with(want), "{said}");
        }
    }
}

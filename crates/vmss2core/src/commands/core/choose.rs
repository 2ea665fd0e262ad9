//! Which threads the user means.

use anyhow::bail;
use vmss2core_guest::linux::Task;
use vmss2core_mem::Problem;

use crate::plan::Wanted;

/// How many others are named where nothing fits.
const SUGGESTIONS: usize = 5;

/// The threads to write cores of, one for each process. A process that has no
/// memory is an error if it was named by number or is all there is.
pub(super) fn tasks<'t>(
    tasks: &'t [Task],
    wanted: &[Wanted],
    problems: &mut Vec<Problem>,
) -> anyhow::Result<Vec<&'t Task>> {
    let mut chosen: Vec<&Task> = Vec::new();
    for wanted in wanted {
        let found = match wanted {
            Wanted::Pid(number) => vec![by_number(tasks, *number)?],
            Wanted::Name(name) => by_name(tasks, name, problems)?,
        };
        for task in found {
            if !chosen.iter().any(|other| other.tid == task.tid) {
                chosen.push(task);
            }
        }
    }
    Ok(chosen)
}

fn by_number(tasks: &[Task], number: u32) -> anyhow::Result<&Task> {
    let found = tasks.iter().find(|task| task.tid == number && number != 0);
    let Some(task) = found else {
        bail!("the guest has no process or thread {number}{}", near(tasks, number));
    };
    if let Some(why) = refusal(task) {
        bail!("no core of {number} ({}): {why}", task.comm);
    }
    Ok(task)
}

/// All processes of a name. What has ended or belongs to the kernel is left out
/// if there are others.
fn by_name<'t>(
    tasks: &'t [Task],
    name: &str,
    problems: &mut Vec<Problem>,
) -> anyhow::Result<Vec<&'t Task>> {
    let leaders = tasks.iter().filter(|task| task.is_leader() && task.comm == name);
    let (refused, found): (Vec<&Task>, Vec<&Task>) =
        leaders.partition(|task| refusal(task).is_some());
    let refusals = refused
        .iter()
        .filter_map(|task| Some(format!("no core of {} ({name}): {}", task.tid, refusal(task)?)));
    match (found.is_empty(), refused.is_empty()) {
        (true, true) => bail!("the guest has no process called {name}{}", similar(tasks, name)),
        (true, false) => bail!("{}", refusals.collect::<Vec<_>>().join("\n")),
        _ => problems.extend(refusals.map(Problem::warning)),
    }
    Ok(found)
}

/// Why there is no core of a task.
fn refusal(task: &Task) -> Option<&'static str> {
    let state = task.state.map(|state| state.letter);
    match state {
        _ if task.is_kernel_thread => {
            Some("it is a thread of the kernel, without memory of its own")
        }
        Some('Z' | 'X') => Some("it has ended, and its memory is gone"),
        _ if task.mm.is_none() => Some("it has no memory of its own any more"),
        _ => None,
    }
}

/// The processes whose numbers come closest.
fn near(tasks: &[Task], number: u32) -> String {
    let mut others: Vec<&Task> =
        tasks.iter().filter(|task| task.is_leader() && refusal(task).is_none()).collect();
    others.sort_by_key(|task| (task.tid.abs_diff(number), task.tid));
    list(&others)
}

/// The processes whose names are alike.
fn similar(tasks: &[Task], name: &str) -> String {
    let mut others: Vec<(usize, &Task)> = tasks
        .iter()
        .filter(|task| task.is_leader() && refusal(task).is_none())
        .map(|task| (distance(name, &task.comm), task))
        .filter(|(distance, _)| *distance <= 2 || *distance * 3 <= name.chars().count())
        .collect();
    others.sort_by_key(|(distance, task)| (*distance, task.tid));
    let others: Vec<&Task> = others.into_iter().map(|(_, task)| task).collect();
    if others.is_empty() { "; vmss2core ps lists all".to_owned() } else { list(&others) }
}

fn list(tasks: &[&Task]) -> String {
    let mut names: Vec<String> = Vec::new();
    for task in tasks.iter().take(SUGGESTIONS) {
        names.push(format!("{} ({})", task.tid, task.comm));
    }
    if names.is_empty() {
        return String::new();
    }
    format!("; there are {}", names.join(", "))
}

/// How many letters must be changed, added or taken away; a part of the name is
/// as good as one letter.
fn distance(wanted: &str, name: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) =
        (wanted.to_lowercase().chars().take(64).collect(), name.to_lowercase().chars().collect());
    if !a.is_empty() && name.to_lowercase().contains(&wanted.to_lowercase()) {
        return 1;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (slot, y) in row.iter_mut().skip(1).zip(&b) {
            let change = diagonal + usize::from(x != y);
            diagonal = *slot;
            left = change.min(left + 1).min(diagonal + 1);
            *slot = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(a.len())
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
            task(0, "swapper/0", 'I'),
        ]
    }

    fn chosen(wanted: &[Wanted]) -> Result<(Vec<u32>, Vec<String>), String> {
        let guest = guest();
        let mut problems = Vec::new();
        let found = tasks(&guest, wanted, &mut problems).map_err(|error| format!("{error:#}"))?;
        let messages = problems.into_iter().map(|problem| problem.message).collect();
        Ok((found.iter().map(|task| task.tid).collect(), messages))
    }

    fn name(name: &str) -> Wanted {
        Wanted::Name(name.into())
    }

    #[test]
    fn processes_are_chosen_by_number_and_by_name_and_once() {
        assert_eq!(chosen(&[Wanted::Pid(93)]).unwrap().0, [93]);
        let (found, problems) = chosen(&[Wanted::Pid(94), name("nginx"), name("init")]).unwrap();
        assert_eq!(found, [94, 92, 1]);
        assert_eq!(problems, ["no core of 95 (nginx): it has ended, and its memory is gone"]);
    }

    #[test]
    fn what_has_no_memory_is_refused_with_a_reason() {
        for (wanted, want) in [
            (Wanted::Pid(2), "no core of 2 (kthreadd): it is a thread of the kernel"),
            (Wanted::Pid(95), "no core of 95 (nginx): it has ended"),
            (name("kthreadd"), "no core of 2 (kthreadd): it is a thread of the kernel"),
            (Wanted::Pid(0), "the guest has no process or thread 0"),
        ] {
            let said = chosen(&[wanted]).unwrap_err();
            assert!(said.starts_with(want), "{said}");
        }
    }

    #[test]
    fn others_are_suggested_for_what_is_not_there() {
        let said = chosen(&[Wanted::Pid(91)]).unwrap_err();
        assert!(
            said.ends_with("; there are 90 (sshd), 92 (nginx), 94 (nginx), 1 (init)"),
            "{said}"
        );
        for (wanted, want) in [
            ("ngnix", "; there are 92 (nginx), 94 (nginx)"),
            ("ssh", "; there are 90 (sshd)"),
            ("Init", "; there are 1 (init)"),
            ("postgres", "; vmss2core ps lists all"),
        ] {
            let said = chosen(&[name(wanted)]).unwrap_err();
            assert!(said.ends_with(want), "{said}");
        }
    }
}

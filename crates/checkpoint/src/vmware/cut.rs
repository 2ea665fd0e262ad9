//! Messages about a state file that ends too early.

use vmss2core_mem::Problem;

use super::tags::CutGroup;

/// Missing groups that are named.
const MAX_NAMED: usize = 3;

/// One sentence: where the file ends, what is missing, and what that means.
/// `None` if it is whole.
pub(super) fn problem(len: u64, cut: &[CutGroup]) -> Option<Problem> {
    let end = cut.iter().map(|group| group.end).max()?;
    let partly: Vec<&str> = names(cut, true);
    let missing: Vec<&str> = names(cut, false);
    let mut lost: Vec<String> =
        partly.iter().map(|name| format!("group {name} is there in part")).collect();
    if !missing.is_empty() {
        lost.push(format!("{} are missing ({})", groups(missing.len()), listed(&missing)));
    }
    let fate = [("cpu", "the registers"), ("memory", "the memory map")].map(|(name, what)| {
        let has = |list: &[&str]| list.contains(&name);
        let state = match (has(&partly), has(&missing)) {
            (true, _) => "in part",
            (_, true) => "missing",
            _ => "there",
        };
        format!("{what} {} {state}", if what.ends_with('s') { "are" } else { "is" })
    });
    Some(Problem::incomplete(format!(
        "the state file is cut off: it ends at {len:#x} and its groups go on to {end:#x}; {}; {}; \
         copy the file again",
        lost.join(", "),
        fate.join(", ")
    )))
}

fn names(cut: &[CutGroup], in_part: bool) -> Vec<&str> {
    cut.iter().filter(|group| group.in_part == in_part).map(|group| group.name.as_str()).collect()
}

fn groups(count: usize) -> String {
    if count == 1 { "1 group".to_owned() } else { format!("{count} groups") }
}

fn listed(names: &[&str]) -> String {
    let named = names.get(..MAX_NAMED).unwrap_or(names).join(", ");
    match names.len().saturating_sub(MAX_NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

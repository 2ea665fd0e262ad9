//! Doubly linked lists of the kernel (`LIST_ENTRY`), whatever state they are in.

use std::collections::HashSet;

use vmss2core_mem::Gva;

use super::View;

/// Entries of a list.
#[derive(Clone, Debug, Default)]
pub(super) struct List {
    /// Addresses of the `LIST_ENTRY` in each element, from the first to the last.
    pub(super) entries: Vec<Gva>,
    /// The fault.
    pub(super) torn: Option<String>,
}

/// Direction of a walk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Forward,
    Back,
}

/// Walks from `head` and, if the list is torn, from its other end as well, at
/// most `limit` elements.
pub(super) fn walk(view: &View, head: Gva, limit: usize) -> List {
    let mut seen = HashSet::from([head]);
    let (mut entries, torn) = one_way(view, head, Way::Forward, (&mut seen, limit));
    if torn.is_none() {
        return List { entries, torn };
    }
    // What the walk forward reached is known; the other must not stop at it.
    let mut seen_back = HashSet::from([head]);
    let (back, _) = one_way(view, head, Way::Back, (&mut seen_back, limit));
    let more = back.into_iter().rev().filter(|entry| !seen.contains(entry));
    entries.extend(more.take(limit));
    entries.truncate(limit);
    List { entries, torn }
}

fn one_way(
    view: &View,
    head: Gva,
    way: Way,
    (seen, limit): (&mut HashSet<Gva>, usize),
) -> (Vec<Gva>, Option<String>) {
    let mut entries = Vec::new();
    let mut torn = None;
    let mut at = head;
    loop {
        let Some((next, _)) = links(view, at, way) else {
            return (entries, Some(format!("the entry at {at} is not in memory")));
        };
        if at != head {
            entries.push(at);
        }
        if next == head {
            return (entries, torn);
        }
        if !view.is_kernel(next) {
            return (entries, Some(format!("the entry at {at} leads to {next}")));
        }
        if !seen.insert(next) {
            return (entries, Some(format!("the entry at {at} leads back to {next}")));
        }
        if entries.len() >= limit {
            return (entries, Some(format!("it has more than {limit} entries")));
        }
        if links(view, next, way).is_some_and(|(_, back)| back != at) {
            torn = Some(format!("the entry at {next} does not lead back to {at}"));
        }
        at = next;
    }
}

/// Next and previous entry on the way.
fn links(view: &View, entry: Gva, way: Way) -> Option<(Gva, Gva)> {
    let flink = view.pointer(entry)?;
    let blink = view.pointer(Gva(entry.0.checked_add(view.word_len())?))?;
    Some(if way == Way::Forward { (flink, blink) } else { (blink, flink) })
}

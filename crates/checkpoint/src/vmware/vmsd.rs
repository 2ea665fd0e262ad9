//! Lists of snapshots (`.vmsd`): which files belong to which, its name and time.
//!
//! `snapshotN.filename` is the state file, `displayName` the name that the user gave,
//! `createTimeHigh` and `createTimeLow` (32 bits each, signed) the microseconds since
//! 1970. Source: the files themselves; the memory has the state file's name.

use vmss2core_machine::Snapshot;
use vmss2core_mem::Problem;

use super::companions::{named_beside, parse, plain, texts};
use crate::companion::{Place, split};
use crate::source::{Entry, Source, base_name};

/// More snapshots than this are in no list: a machine has 32 in a chain.
const MOST_SNAPSHOTS: usize = 4096;

/// A snapshot with the names of its files.
pub(super) struct Listed {
    pub(super) snapshot: Snapshot,
    /// Without directory.
    state: String,
    /// Other things that are named with it.
    others: Vec<String>,
}

/// The snapshots in the lists beside a file.
pub(super) fn listed(place: &Place<'_>) -> Vec<Listed> {
    texts(place).flat_map(in_list).take(MOST_SNAPSHOTS).collect()
}

fn in_list(entry: &Entry) -> Vec<Listed> {
    let vmx = entry.open("").ok().and_then(|source| parse(&source).ok());
    let Some(vmx) = vmx else { return Vec::new() };
    let filenames = vmx.settings().filter_map(|(key, file)| {
        let group = key.strip_suffix(".filename").filter(|group| is_snapshot(group))?;
        Some((key, group, base_name(file)))
    });
    let listed = filenames.filter(|(_, _, file)| !file.is_empty()).map(|(key, group, file)| {
        let setting = |name: &str| vmx.get(&format!("{group}.{name}"));
        let snapshot = Snapshot {
            name: setting("displayname").map(plain).unwrap_or_default(),
            taken_unix: taken(setting("createtimehigh"), setting("createtimelow")),
            list: entry.base_name().to_owned(),
        };
        let others = named_beside(&vmx, key).into_iter().map(str::to_owned).collect();
        Listed { snapshot, state: file.to_owned(), others }
    });
    listed.take(MOST_SNAPSHOTS).collect()
}

/// `snapshot0`, and not `snapshot0.disk0`.
fn is_snapshot(group: &str) -> bool {
    let number = group.strip_prefix("snapshot").unwrap_or_default();
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

fn taken(high: Option<&str>, low: Option<&str>) -> Option<u64> {
    let half = |text: Option<&str>| {
        let number: i64 = text?.trim().parse().ok()?;
        let as_signed = i32::try_from(number).ok().map(i32::cast_unsigned);
        as_signed.or_else(|| u32::try_from(number).ok())
    };
    let micros = u64::from(half(high)?) << 32 | u64::from(half(low)?);
    Some(micros / 1_000_000).filter(|seconds| *seconds > 0)
}

impl Listed {
    fn owns(&self, name: &str) -> bool {
        let (stem, ending) = split(name);
        let is_memory = ending.eq_ignore_ascii_case("vmem");
        name.eq_ignore_ascii_case(&self.state)
            || is_memory && stem.eq_ignore_ascii_case(split(&self.state).0)
            || self.others.iter().any(|other| name.eq_ignore_ascii_case(other))
    }

    fn label(&self) -> String {
        format!(
            "the snapshot \"{}\" ({} in {})",
            self.snapshot.name, self.state, self.snapshot.list
        )
    }
}

/// The snapshot that a file belongs to, by its name without directory.
pub(super) fn owner<'l>(listed: &'l [Listed], name: &str) -> Option<&'l Listed> {
    listed.iter().find(|snapshot| snapshot.owns(name))
}

/// Message about memory that belongs to another snapshot than the state.
pub(super) fn mixed(listed: &[Listed], state: &Source, memory: &Source) -> Option<Problem> {
    let [state_name, memory_name] = [state, memory].map(|source| {
        let name = source.path.file_name().unwrap_or_default().to_string_lossy();
        base_name(&name).to_owned()
    });
    let of_memory = owner(listed, &memory_name)?;
    if of_memory.owns(&state_name) {
        return None;
    }
    let of_state =
        owner(listed, &state_name).map_or_else(|| "none that is listed".to_owned(), Listed::label);
    Some(Problem::incomplete(format!(
        "registers and memory are of different moments: {} is of {}, {} of {of_state}; take both \
         files of the same snapshot",
        memory.path.display(),
        of_memory.label(),
        state.path.display(),
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a product wrote them in 2015 and in 2026: the lower half is signed.
    #[test]
    fn times_are_microseconds_in_two_halves() {
        assert_eq!(taken(Some("336295"), Some("1080846290")), Some(1_444_377_107));
        assert_eq!(taken(Some("417975"), Some("-1339467776")), Some(1_795_191_911));
        for (high, low) in [(None, Some("1")), (Some("x"), Some("1")), (Some("0"), Some("0"))] {
            assert_eq!(taken(high, low), None);
        }
    }
}

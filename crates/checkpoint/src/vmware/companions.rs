//! Which memory file belongs to a VMware state file.
//!
//! Names: `vm.vmss` and `vm.vmem`, `vm-Snapshot1.vmsn` and `vm-Snapshot1.vmem`.
//! On vSAN and vVols the memory is an object whose name is a bare UUID, so that
//! only a reference in the `.vmx` or `.vmsd`, or its exact size, tells.

use vmss2core_mem::PAGE_SIZE;

use super::Vmx;
use crate::OpenError;
use crate::companion::{Place, Strength, Tie, split};
use crate::flat::Hole;
use crate::pieces::Pieces;
use crate::source::{Entry, Source, base_name};

/// Longest `.vmx` or `.vmsd` that is looked into.
const MAX_TEXT: u64 = 1 << 20;

/// Facts of a state file that help to find its memory.
pub(super) struct StateFacts {
    /// Length that the memory file must have.
    pub(super) expected_len: Option<u64>,
    /// The virtual machine's configuration.
    pub(super) vmx: Option<String>,
}

/// The files beside a state file that can be its memory, surest first.
pub(super) fn ties<'a>(place: &Place<'a>, facts: &StateFacts) -> Vec<Tie<'a>> {
    let mut ties: Vec<Tie<'a>> = place
        .same_stem(place.base_name(), &["vmem"])
        .into_iter()
        .map(|entry| Tie { entry, strength: Strength::SameName, found: "same name".to_owned() })
        .collect();
    ties.extend(by_reference(place, facts));
    // The size of a file proves little, so it speaks only if nothing else does.
    if ties.is_empty() {
        ties.extend(by_size(place, facts));
    }
    ties
}

/// The ties that [`ties`] looks for, in words.
pub(super) fn looked_for(place: &Place<'_>, facts: &StateFacts) -> String {
    let stem = split(place.base_name()).0;
    let size = facts.expected_len.map_or_else(String::new, |len| {
        let rivals = size_rivals(place, facts, len).len();
        let rivals = if rivals > 1 { format!(" ({rivals} have it)") } else { String::new() };
        format!(", and for the one file of {len} bytes{rivals}")
    });
    let pieces = place.name.strip_suffix(place.base_name()).map(|dir| format!("{dir}{stem}.vmem"));
    let pieces = pieces.and_then(|whole| Pieces::of(place.folder, &whole));
    let pieces = pieces.map_or_else(String::new, |pieces| format!(" (there are {pieces})"));
    format!(
        "{stem}.vmem, for a file named with {} in a .vmx or .vmsd{size}, in {}{pieces}",
        place.base_name(),
        place.folder.path.join(directory(&place.name)).display()
    )
}

fn directory(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(directory, _)| directory)
}

/// Files that a `.vmx` or `.vmsd` names together with the state file, or the
/// memory named after the `.vmx` that names it.
fn by_reference<'a>(place: &Place<'a>, facts: &StateFacts) -> Vec<Tie<'a>> {
    let mut ties = Vec::new();
    for entry in texts(place) {
        let Some(vmx) = read_vmx(entry) else { continue };
        for key in keys_naming(&vmx, place.base_name()) {
            let found = format!("named with {} in {}", place.base_name(), entry.base_name());
            let names = named_beside(&vmx, key);
            let named = place.siblings().filter(|other| {
                names.iter().any(|name| name.eq_ignore_ascii_case(other.base_name()))
                    && can_be_memory(other, facts)
            });
            ties.extend(named.map(|entry| tie(entry, found.clone())));
            if key == "checkpoint.vmstate" {
                let found = format!("{} names {}", entry.base_name(), place.base_name());
                let same = place.same_stem(entry.base_name(), &["vmem"]).into_iter();
                ties.extend(same.map(|entry| tie(entry, found.clone())));
            }
        }
    }
    ties
}

fn tie(entry: &Entry, found: String) -> Tie<'_> {
    Tie { entry, strength: Strength::Reference, found }
}

/// The files beside the state file that list others.
pub(super) fn texts<'a, 'p>(place: &'p Place<'a>) -> impl Iterator<Item = &'a Entry> + use<'a, 'p> {
    place.siblings().filter(|entry| {
        let ending = split(entry.base_name()).1;
        let known = ["vmx", "vmsd"].iter().any(|known| ending.eq_ignore_ascii_case(known));
        known && entry.len <= MAX_TEXT
    })
}

fn read_vmx(entry: &Entry) -> Option<Vmx> {
    parse(&entry.open("").ok()?).ok()
}

pub(super) fn parse(source: &Source) -> Result<Vmx, OpenError> {
    let bytes = source.start(usize::try_from(MAX_TEXT).unwrap_or_default())?;
    Ok(Vmx::parse(&String::from_utf8_lossy(&bytes)))
}

/// Whether a file that begins with `head` is a `.vmx` or `.vmsd`: text with one
/// of the settings that each of them has.
pub(super) fn is_configuration(head: &[u8]) -> bool {
    const TELLING: [&str; 5] = [
        "virtualhw.version",
        "config.version",
        "snapshot.numsnapshots",
        "snapshot0.filename",
        // All that an encrypted one shows.
        "encryption.data",
    ];
    if head.contains(&0) {
        return false;
    }
    let vmx = Vmx::parse(&String::from_utf8_lossy(head));
    TELLING.iter().any(|key| vmx.get(key).is_some())
}

/// The state files that a `.vmx` or `.vmsd` names: the suspended state, and each
/// snapshot.
pub(super) fn checkpoints_named_in(source: &Source) -> Result<Vec<String>, OpenError> {
    let vmx = parse(source)?;
    let names = vmx.settings().filter(|(key, _)| {
        let snapshot = key.strip_prefix("snapshot").and_then(|rest| rest.strip_suffix(".filename"));
        let numbered = |number: &str| !number.is_empty() && decimal(number);
        *key == "checkpoint.vmstate" || snapshot.is_some_and(numbered)
    });
    let names = names.map(|(_, value)| base_name(value).to_owned());
    Ok(names.filter(|name| !name.is_empty()).collect())
}

/// The setting by which a configuration says that its machine is encrypted.
pub(super) fn encryption_of(source: &Source) -> Option<String> {
    let vmx = parse(source).ok()?;
    if let Some(kind) = vmx.get("vmx.encryptiontype") {
        return Some(format!("vmx.encryptionType = \"{}\"", plain(kind)));
    }
    let key =
        ["encryption.data", "encryption.keysafe"].into_iter().find(|key| vmx.get(key).is_some());
    key.map(str::to_owned)
}

/// A setting's value as it can be shown.
pub(super) fn plain(value: &str) -> String {
    value.chars().filter(|char| !char.is_control()).take(255).collect()
}

fn decimal(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Keys whose value is the file `name`, with or without a directory.
fn keys_naming<'v>(vmx: &'v Vmx, name: &str) -> Vec<&'v str> {
    let naming = vmx.settings().filter(|(_, value)| base_name(value).eq_ignore_ascii_case(name));
    naming.map(|(key, _)| key).collect()
}

/// The values of the keys in the same group as `key`, such as `snapshot0.`, as
/// file names without directory.
pub(super) fn named_beside<'v>(vmx: &'v Vmx, key: &str) -> Vec<&'v str> {
    let group = |key: &'v str| key.rsplit_once('.').map(|(group, _)| group);
    let Some((own, _)) = key.rsplit_once('.') else { return Vec::new() };
    let others = vmx.settings().filter(|(other, _)| *other != key && group(other) == Some(own));
    others.map(|(_, value)| base_name(value)).filter(|name| !name.is_empty()).collect()
}

/// Whether a file that a reference names can be memory, and is not a disk or
/// another state file.
fn can_be_memory(entry: &Entry, facts: &StateFacts) -> bool {
    if split(entry.base_name()).1.eq_ignore_ascii_case("vmem") {
        return true;
    }
    let whole_pages = entry.len > 0 && entry.len.is_multiple_of(PAGE_SIZE);
    facts.expected_len.map_or(whole_pages, |len| entry.len == len)
}

/// The one file that has the size of the memory.
fn by_size<'a>(place: &Place<'a>, facts: &StateFacts) -> Option<Tie<'a>> {
    let len = facts.expected_len.filter(|len| *len > 0)?;
    let rivals = size_rivals(place, facts, len);
    let named: Vec<_> =
        rivals.iter().filter(|entry| uuid(entry.base_name()).is_some()).copied().collect();
    let (([entry], _) | (_, [entry])) = (rivals.as_slice(), named.as_slice()) else { return None };
    let found = format!("exact size of {len} bytes");
    Some(Tie { entry, strength: Strength::Size, found })
}

/// Files of the memory's size that belong to nothing else: not those of other
/// snapshots, and not the paging file of the running machine.
fn size_rivals<'a>(place: &Place<'a>, facts: &StateFacts, len: u64) -> Vec<&'a Entry> {
    let running = facts.vmx.as_deref().and_then(location);
    let free = |entry: &&Entry| {
        let name = entry.base_name();
        let (stem, ending) = split(name);
        let owned = ending.eq_ignore_ascii_case("vmem")
            && !place.same_stem(name, &["vmss", "vmsn"]).is_empty();
        let is_disk = ending.eq_ignore_ascii_case("vmdk");
        !owned && !is_disk && (running.is_none() || uuid(stem) != running)
    };
    place.same_size(len).into_iter().filter(free).collect()
}

/// The hole below 4 GiB of machines with more than 3 GiB, and those that a
/// configuration beside the memory file `place` asks for.
pub(super) fn memory_holes(place: &Place<'_>) -> Vec<Hole> {
    const GIB: u64 = 1 << 30;
    let configured = texts(place).filter_map(|entry| {
        let range = read_vmx(entry)?.pci_hole()?;
        Some(Hole { range, found: format!("pciHole in {}", entry.base_name()) })
    });
    let usual = Hole { range: 3 * GIB..4 * GIB, found: "usual of VMware".to_owned() };
    configured.chain([usual]).collect()
}

/// The memory that the configuration with the name of the memory file `place` gives the machine.
pub(super) fn memory_size(place: &Place<'_>) -> Option<(u64, String)> {
    let entry = place.same_stem(place.base_name(), &["vmx"]).into_iter().next()?;
    let mib: u64 = read_vmx(entry)?.get("memsize")?.trim().parse().ok()?;
    let len = mib.checked_mul(1 << 20).filter(|len| *len > 0)?;
    Some((len, format!("memsize = \"{mib}\" in {}", entry.base_name())))
}

/// `uuid.location` of a configuration: the name of the running machine's paging
/// file.
fn location(vmx: &str) -> Option<String> {
    uuid(Vmx::parse(vmx).get("uuid.location")?)
}

/// The 32 hex digits of a UUID, however they are grouped.
fn uuid(text: &str) -> Option<String> {
    let digits: String = text.chars().filter(|c| !matches!(c, '-' | ' ')).collect();
    let hex = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    hex.then(|| digits.to_ascii_lowercase())
}

#[cfg(test)]
#[path = "companions_tests.rs"]
mod tests;

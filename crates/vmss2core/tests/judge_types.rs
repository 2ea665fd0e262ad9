//! Judges on the kernel's types: bpftool and pahole read what `btf` writes, and a
//! second path, DWARF of the kernel's own file, says the same.

#![allow(clippy::indexing_slicing, reason = "a test may stop where it stands")]

#[macro_use]
mod common;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use common::cores::{Wrap, checkpoint};
use common::guests::{guest, guest_with_kernel};
use serde_json::Value;
use vmss2core_guest::linux::{Member, Types, Vmlinux, read_btf};
use vmss2core_lab::judges;

guest_tests! {
    (bpftool_reads_the_types_as_we_do, pahole_prints_the_numbers_of_linuxoffsets, a_printed_layout_can_be_given)
    five_level: "linux-6.1",
    isolated_four_level: "linux-6.1-4level",
    around_the_hole: "linux-6.1-6g",
    panicked: "linux-6.1-panic",
    linux_5_10: "linux-5.10",
    linux_6_12: "linux-6.12",
    newest: "linux-sid",
}

/// Structures that answers are made of.
const STRUCTURES: [&str; 24] = [
    "task_struct",
    "thread_struct",
    "signal_struct",
    "cred",
    "mm_struct",
    "vm_area_struct",
    "file",
    "path",
    "dentry",
    "qstr",
    "mount",
    "vfsmount",
    "inode",
    "address_space",
    "xarray",
    "xa_node",
    "page",
    "module",
    "printk_ringbuffer",
    "uts_namespace",
    "rq",
    "timekeeper",
    "pid",
    "list_head",
];

fn vmss2core(args: &[&str]) -> Result<Output> {
    Ok(Command::new(env!("CARGO_BIN_EXE_vmss2core")).args(args).output()?)
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("paths of tests are text")
}

fn succeed(args: &[&str]) -> Result<String> {
    let output = vmss2core(args)?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{args:?}: {stderr}");
    Ok(String::from_utf8(output.stdout)?)
}

/// The guest's checkpoint, and its types as `btf` writes them.
fn written(name: &str) -> Result<(PathBuf, tempfile::TempDir, PathBuf)> {
    let state = checkpoint(&guest(name)?, &Wrap::split())?;
    let dir = tempfile::tempdir()?;
    let out = dir.path().join("kernel.btf");
    succeed(&["btf", text(&state)?, "-o", text(&out)?])?;
    Ok((state, dir, out))
}

/// Types by number as bpftool reads them.
struct Judged(HashMap<u64, Value>);

impl Judged {
    fn of(path: &Path) -> Result<Self> {
        let json = judges::bpftool()?.run(["-j", "btf", "dump", "file", text(path)?])?;
        let json: Value = serde_json::from_str(&json)?;
        let types = json["types"].as_array().context("no types")?.iter();
        let numbered = types.map(|ty| Ok((ty["id"].as_u64().context("no id")?, ty.clone())));
        Ok(Self(numbered.collect::<Result<_>>()?))
    }

    fn structure(&self, name: &str) -> Option<&Value> {
        let mut ids: Vec<&u64> = self.0.keys().collect();
        ids.sort();
        let mut types = ids.into_iter().map(|id| &self.0[id]);
        types.find(|ty| ty["kind"] == "STRUCT" && ty["name"] == name)
    }

    /// All members with a name, and where they are: bits, and width of bit fields.
    fn members(&self, ty: &Value, base: u64, found: &mut BTreeMap<String, (u64, u64)>) {
        for member in ty["members"].as_array().into_iter().flatten() {
            let at = base + member["bits_offset"].as_u64().unwrap_or(u64::MAX / 2);
            match member["name"].as_str() {
                Some(name) if name != "(anon)" => {
                    let width = member["bitfield_size"].as_u64().unwrap_or(0);
                    found.insert(name.to_owned(), (at, width));
                }
                _ => self.members(self.resolved(member), at, found),
            }
        }
    }

    fn resolved(&self, member: &Value) -> &Value {
        let mut ty = &self.0[&member["type_id"].as_u64().unwrap_or(0)];
        while matches!(ty["kind"].as_str(), Some("CONST" | "VOLATILE" | "TYPEDEF")) {
            ty = &self.0[&ty["type_id"].as_u64().unwrap_or(0)];
        }
        ty
    }
}

fn bits(member: Member) -> (u64, u64) {
    let (shift, width) = member.bits.unwrap_or((0, 0));
    (member.offset_bytes * 8 + u64::from(shift), width.into())
}

fn bpftool_reads_the_types_as_we_do(name: &str) -> Result<()> {
    let (_, _dir, out) = written(name)?;
    let (judged, ours) = (Judged::of(&out)?, read_btf(&out)?);
    ensure!(judged.0.len() >= ours.len() && ours.len() > 50_000, "{} types", ours.len());
    let mut compared = 0;
    for structure in STRUCTURES {
        let Some(ty) = judged.structure(structure) else { continue };
        ensure!(ours.size_of(structure) == ty["size"].as_u64(), "size of {structure}");
        let mut members = BTreeMap::new();
        judged.members(ty, 0, &mut members);
        for (member, want) in members {
            let found = ours.member(structure, &member).map(bits);
            ensure!(found == Some(want), "{structure}.{member}: {found:?}, bpftool {want:?}");
            compared += 1;
        }
    }
    ensure!(compared > 700, "only {compared} members");
    Ok(())
}

fn pahole_prints_the_numbers_of_linuxoffsets(name: &str) -> Result<()> {
    let (state, _dir, out) = written(name)?;
    let line = succeed(&["linuxoffsets", text(&state)?])?;
    let numbers: Vec<u64> = line
        .trim()
        .split(',')
        .map(|number| Ok(u64::from_str_radix(number.trim_start_matches("0x"), 16)?))
        .collect::<Result<_>>()?;
    ensure!(numbers.len() == 14, "{line}");
    let offset = |structure: &str, member: &str| -> Result<u64> {
        let printed = judges::pahole()?.run(["-C", structure, text(&out)?])?;
        let of_member = |line: &&str| {
            let declared = line.split(';').next().unwrap_or_default();
            let declared = declared.split(" __attribute__").next().unwrap_or_default();
            line.starts_with('\t') && declared.ends_with(&format!(" {member}"))
                || declared.contains(&format!(" {member}["))
                || declared.ends_with(&format!("*{member}"))
        };
        let Some(line) = printed.lines().find(of_member) else { return Ok(0) };
        let remark = line.split("/*").nth(1).context("no offset")?;
        Ok(remark.split_whitespace().next().context("no offset")?.parse()?)
    };
    for (index, structure, member) in [
        (1, "task_struct", "mm"),
        (3, "task_struct", "tasks"),
        (4, "task_struct", "comm"),
        (5, "task_struct", "pid"),
        (6, "task_struct", "thread"),
        (9, "thread_struct", "fsbase"),
        (11, "task_struct", "group_leader"),
        (12, "task_struct", "thread_group"),
    ] {
        let want = offset(structure, member)?;
        ensure!(
            numbers[index] == want,
            "{structure}.{member}: {:#x}, pahole {want:#x}",
            numbers[index]
        );
    }
    ensure!((numbers[10], numbers[13]) == (0x4000, 16), "{line}");
    Ok(())
}

fn a_printed_layout_can_be_given(name: &str) -> Result<()> {
    let state = checkpoint(&guest(name)?, &Wrap::split())?;
    let state = text(&state)?;
    let printed = succeed(&["linuxoffsets", "--print-layout", state])?;
    let items = |text: &str| -> Vec<String> {
        text.lines()
            .map(|line| line.split('#').next().unwrap_or_default().trim().to_owned())
            .collect()
    };
    ensure!(items(&printed).len() > 100, "{printed}");
    let again = succeed(&["linuxoffsets", "--print-layout", "-l", &printed, state])?;
    ensure!(items(&again) == items(&printed), "{again}");
    let ours = again.lines().filter(|line| line.ends_with("# the offsets of -l")).count();
    ensure!(ours + 1 == again.lines().count(), "{again}");
    Ok(())
}

#[test]
fn dwarf_of_the_kernel_says_what_its_btf_says() -> Result<()> {
    let (_, vmlinux) = guest_with_kernel("linux-6.1")?;
    let (_, _dir, out) = written("linux-6.1")?;
    let (judged, btf) = (Judged::of(&out)?, read_btf(&out)?);
    let dwarf = Vmlinux::open(&vmlinux, &std::env::temp_dir())?.types()?;
    ensure!(dwarf.how.starts_with("DWARF"), "{}", dwarf.how);
    for structure in STRUCTURES.into_iter().chain(["maple_node", "maple_tree"]) {
        let Some(ty) = judged.structure(structure) else { continue };
        ensure!(dwarf.value.size_of(structure) == ty["size"].as_u64(), "size of {structure}");
        let mut members = BTreeMap::new();
        judged.members(ty, 0, &mut members);
        for member in members.keys() {
            let (ours, theirs) =
                (btf.member(structure, member), dwarf.value.member(structure, member));
            ensure!(ours == theirs && ours.is_some(), "{structure}.{member}: {ours:?} {theirs:?}");
        }
    }
    ensure!(dwarf.value.enumerator("PIDTYPE_SID") == btf.enumerator("PIDTYPE_SID"));
    ensure!(dwarf.value.size_of("no_such_struct").is_none());
    Ok(())
}

#[test]
fn a_kernel_file_is_used_for_its_own_kernel_only() -> Result<()> {
    let (guest_61, vmlinux) = guest_with_kernel("linux-6.1")?;
    let state = checkpoint(&guest_61, &Wrap::split())?;
    let (state, vmlinux) = (text(&state)?, text(&vmlinux)?);
    let own = succeed(&["linuxoffsets", state])?;
    ensure!(succeed(&["linuxoffsets", vmlinux])? == own);
    ensure!(succeed(&["linuxoffsets", "--vmlinux", vmlinux, state])? == own);
    let ps = succeed(&["ps", state])?;
    ensure!(succeed(&["ps", "--vmlinux", vmlinux, state])? == ps);

    let other = checkpoint(&guest("linux-6.12")?, &Wrap::split())?;
    let refused = vmss2core(&["ps", "--vmlinux", vmlinux, text(&other)?])?;
    let stderr = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(!refused.status.success() && refused.stdout.is_empty(), "{stderr}");
    for part in ["is of another kernel", "build id", "linux-image-6.12", "-dbg"] {
        ensure!(stderr.contains(part), "{stderr}");
    }
    // Numbers of another kernel are left out, and the answer stays.
    let right = succeed(&["ps", text(&other)?])?;
    let wrong = vmss2core(&["ps", "-l", own.trim(), text(&other)?])?;
    let stderr = String::from_utf8_lossy(&wrong.stderr).into_owned();
    ensure!(String::from_utf8_lossy(&wrong.stdout) == right, "{stderr}");
    ensure!(stderr.contains("not used: the offsets of -l"), "{stderr}");
    Ok(())
}

/// Where others measured members on these kernels.
#[test]
fn members_are_where_they_were_measured() -> Result<()> {
    for (name, measured) in [
        ("linux-5.10", "stack=18 tasks=7b8 mm=808 pid=8b8 real_parent=8c8 cred=aa0 comm=ab0"),
        ("linux-6.1", "stack=20 tasks=890 mm=8e0 pid=970 real_parent=980 cred=b90 comm=ba0"),
        ("linux-6.12", "stack=20 tasks=8b0 mm=900 pid=980 real_parent=990 cred=b90 comm=ba0"),
    ] {
        let (_, _dir, out) = written(name)?;
        let btf = read_btf(&out)?;
        for (member, want) in measured.split(' ').filter_map(|item| item.split_once('=')) {
            let found = btf.member("task_struct", member).map(|member| member.offset_bytes);
            let want = u64::from_str_radix(want, 16)?;
            ensure!(found == Some(want), "{name} {member}: {found:?}, measured {want:#x}");
        }
    }
    Ok(())
}

//! Types of units that the machine's compiler made, in each version of DWARF and
//! each way to pack them, against what pahole says of the same units.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use vmss2core_guest::linux::{FileError, Member, Types, Vmlinux};
use vmss2core_lab::judges;

/// What kernels have: structures in unions in structures without names, arrays of
/// arrays, bit fields across and within bytes, qualifiers, enumerations.
const SOURCE: &str = "
struct inner {
    int a;
    union { long l; struct { short s1, s2; }; };
    unsigned f1 : 3, f2 : 7;
    unsigned long g : 33;
    char tail[5];
};
enum colour { RED, GREEN = 7, BLUE = -2 };
typedef const volatile struct inner *handle;
struct outer {
    struct inner in[3][2];
    struct { unsigned x : 1; unsigned y : 9; };
    handle p;
    enum colour c;
    unsigned char flags : 4, rest : 4;
    union { struct { union { char deep; int deeper[2]; }; char after; }; double d; };
    _Bool yes : 1;
    void (*call)(int);
    char open[];
};
struct packed { char c; int i; unsigned long bits : 40; } __attribute__((packed));
struct outer lab_outer;
struct packed lab_packed;
enum colour lab_colour = GREEN;
";

/// Structures, their members, and whether pahole prints each as a bit field.
const MEMBERS: [(&str, &[&str]); 3] = [
    ("inner", &["a", "l", "s1", "s2", "f1", "f2", "g", "tail"]),
    (
        "outer",
        &["in", "x", "y", "p", "c", "flags", "rest", "deep", "deeper", "after", "d", "yes", "open"],
    ),
    ("packed", &["c", "i", "bits"]),
];

fn run(dir: &Path, program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program).args(arguments).current_dir(dir).output()?;
    let talk = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {arguments:?}: {talk}");
    Ok(())
}

/// A linked file: references are filled in, as in a kernel.
fn compiled(dir: &Path, options: &[&str]) -> Result<()> {
    std::fs::write(dir.join("units.c"), SOURCE)?;
    let second = "struct second { struct outer *o; long l; }; struct second lab_second;";
    std::fs::write(dir.join("second.c"), second)?;
    let common = ["-nostdlib", "-static", "-Wl,-e,0", "-o", "linked", "units.c", "second.c"];
    run(dir, "gcc", &[options, &common].concat())
}

/// What pahole prints of a structure: bits from its start and width of each member,
/// and the size. Offsets are printed as bytes, those of bit fields as `BYTES: BITS`.
struct Printed(String);

impl Printed {
    fn of(structure: &str, file: &Path) -> Result<Self> {
        let arguments = ["-C".as_ref(), structure.as_ref(), file.as_os_str()];
        Ok(Self(judges::pahole()?.run(arguments)?))
    }

    fn member(&self, member: &str) -> Option<Member> {
        let declares = |line: &&str| {
            let declared = line.split("/*").next().unwrap_or_default();
            let words = declared.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            // The last word, but for a width or number of elements.
            declared.contains(';')
                && words.filter(|word| word.parse::<u64>().is_err()).rfind(|word| !word.is_empty())
                    == Some(member)
        };
        let line = self.0.lines().find(declares)?;
        let (declared, remark) = line.split_once("/*")?;
        let (at, rest) = remark.trim().split_once([' ', ':'])?;
        let offset_bytes = at.parse().ok()?;
        let width = declared.split_once(':').map(|(_, width)| width.trim().trim_end_matches(';'));
        let Some(width) = width else {
            let size = rest.trim().split(' ').next()?.parse().ok()?;
            return Some(Member { offset_bytes, size_bytes: Some(size), bits: None });
        };
        let (shift, size) = rest.trim().trim_end_matches("*/").trim().split_once(' ')?;
        let bits = Some((shift.parse().ok()?, width.parse().ok()?));
        Some(Member { offset_bytes, size_bytes: size.trim().parse().ok(), bits })
    }

    fn size(&self) -> Option<u64> {
        self.0.split_once("size: ")?.1.split(',').next()?.parse().ok()
    }
}

/// Where a member lies: first bit from the start of its structure, and width of a
/// bit field. How wide the integer around a bit field is read is a choice.
fn place(member: Member) -> (u64, Option<u64>, Option<u64>) {
    let (shift, width) = member.bits.unzip();
    let size = member.size_bytes.filter(|_| width.is_none());
    (member.offset_bytes * 8 + u64::from(shift.unwrap_or(0)), size, width.map(u64::from))
}

/// All of it as pahole reads `judged`.
fn same_as_pahole(file: &Path, judged: &Path) -> Result<()> {
    let types = Vmlinux::open(file, &std::env::temp_dir())?.types()?;
    ensure!(types.how.starts_with("DWARF"), "{}", types.how);
    let types = types.value;
    for (structure, members) in MEMBERS {
        let printed = Printed::of(structure, judged)?;
        ensure!(types.size_of(structure) == printed.size(), "{structure}: {}", printed.0);
        for member in members {
            let ours = types.member(structure, member).map(place);
            let theirs = printed.member(member).map(place);
            let what = format!("{structure}.{member}: {ours:?}, pahole {theirs:?}: {}", printed.0);
            ensure!(ours == theirs && ours.is_some(), "{what}");
        }
    }
    everything_else(&*types)
}

/// What pahole prints no number of.
fn everything_else(types: &dyn Types) -> Result<()> {
    for (name, value) in [("RED", 0), ("GREEN", 7), ("BLUE", -2)] {
        ensure!(types.enumerator(name) == Some(value), "{name}: {:?}", types.enumerator(name));
    }
    ensure!(types.enumerator("GREE").is_none() && types.size_of("oute").is_none());
    let at = |structure: &str, path: &str| {
        types.member(structure, path).map(|member| member.offset_bytes)
    };
    // Through a structure within, and in a unit where `outer` is only declared.
    let inner = at("outer", "in").zip(at("inner", "l")).context("no members")?;
    ensure!(at("outer", "in.l") == Some(inner.0 + inner.1), "{:?}", at("outer", "in.l"));
    ensure!((at("second", "o"), at("second", "l")) == (Some(0), Some(8)));
    Ok(())
}

fn checked(options: &[&str]) -> Result<()> {
    let dir = tempfile::tempdir()?;
    compiled(dir.path(), options)?;
    let file = dir.path().join("linked");
    same_as_pahole(&file, &file)
}

#[test]
fn each_version_is_read_as_pahole_reads_it() -> Result<()> {
    for version in ["-gdwarf-2", "-gdwarf-3", "-gdwarf-4", "-gdwarf-5"] {
        checked(&["-g", version]).context(version)?;
        checked(&["-g", version, "-gstrict-dwarf"]).context(version)?;
    }
    Ok(())
}

/// Compressed by the compiler, and by objcopy as distributions do it. pahole is
/// asked of the file before that: it cannot read all of these.
#[test]
fn packed_sections_are_read_as_the_unpacked_ones() -> Result<()> {
    checked(&["-g", "-gz=zlib"])?;
    for version in ["-gdwarf-4", "-gdwarf-5"] {
        for packing in ["zlib", "zlib-gnu", "zstd"] {
            let dir = tempfile::tempdir()?;
            compiled(dir.path(), &["-g", version])?;
            let option = format!("--compress-debug-sections={packing}");
            run(dir.path(), "objcopy", &[&option, "linked", "packed"])?;
            let len = |name: &str| Ok::<_, std::io::Error>(dir.path().join(name).metadata()?.len());
            ensure!(len("packed")? < len("linked")?, "{packing}: nothing was packed");
            let (packed, linked) = (dir.path().join("packed"), dir.path().join("linked"));
            same_as_pahole(&packed, &linked).with_context(|| format!("{version} {packing}"))?;
        }
    }
    Ok(())
}

#[test]
fn types_in_other_files_are_refused_with_a_reason() -> Result<()> {
    for version in ["-gdwarf-4", "-gdwarf-5"] {
        let dir = tempfile::tempdir()?;
        compiled(dir.path(), &["-g", version, "-gsplit-dwarf"])?;
        let refused = Vmlinux::open(&dir.path().join("linked"), dir.path())?.types();
        let error = refused.err().context("split types were taken")?;
        ensure!(matches!(error, FileError::Split { .. }), "{error:?}");
        ensure!(error.to_string().contains("CONFIG_DEBUG_INFO_SPLIT"), "{error}");
    }
    Ok(())
}

//! Model-specific registers, recognised by what their tags are called.
//!
//! No public source lists these tags, so names are compared without regard to
//! case, separators and the usual prefixes, and what matched is reported. Tags
//! named `MSR...` with a second index are taken to be numbered by it, as in the
//! processor manuals.

use std::fmt;

use vmss2core_mem::Msrs;

/// A register that a tag may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Msr {
    Efer,
    Star,
    Lstar,
    Cstar,
    Sfmask,
    FsBase,
    GsBase,
    KernelGsBase,
    SysenterCs,
    SysenterEsp,
    SysenterEip,
    Pat,
    Tsc,
    TscAux,
    Xcr0,
}

/// Names in lower case without separators, and the register's number.
const NAMES: [(Msr, &[&str], u32); 15] = [
    (Msr::Efer, &["efer"], 0xc000_0080),
    (Msr::Star, &["star"], 0xc000_0081),
    (Msr::Lstar, &["lstar"], 0xc000_0082),
    (Msr::Cstar, &["cstar"], 0xc000_0083),
    (Msr::Sfmask, &["sfmask", "fmask", "syscallmask"], 0xc000_0084),
    (Msr::FsBase, &["fsbase"], 0xc000_0100),
    (Msr::GsBase, &["gsbase"], 0xc000_0101),
    (Msr::KernelGsBase, &["kernelgsbase", "kernelgs"], 0xc000_0102),
    (Msr::SysenterCs, &["sysentercs"], 0x174),
    (Msr::SysenterEsp, &["sysenteresp"], 0x175),
    (Msr::SysenterEip, &["sysentereip"], 0x176),
    (Msr::Pat, &["pat"], 0x277),
    (Msr::Tsc, &["tsc"], 0x10),
    (Msr::TscAux, &["tscaux"], 0xc000_0103),
    // Not an MSR, and without a number; saved beside them.
    (Msr::Xcr0, &["xcr0"], u32::MAX),
];

/// The first name, as it is usual in lower case.
impl fmt::Display for Msr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entry = NAMES.iter().find(|(msr, ..)| msr == self);
        f.write_str(entry.and_then(|(_, names, _)| names.first()).copied().unwrap_or_default())
    }
}

/// Prefixes that say no more than "a register".
const PREFIXES: [&str; 6] = ["msr", "ia32", "k6", "amd64", "cpu", "hv"];

/// The register with this name, whatever the spelling.
pub(super) fn by_name(name: &str) -> Option<Msr> {
    let mut plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    plain.make_ascii_lowercase();
    let mut rest = plain.as_str();
    while let Some(shorter) = PREFIXES.iter().find_map(|prefix| rest.strip_prefix(prefix)) {
        rest = shorter;
    }
    let rest = rest.strip_suffix("64").unwrap_or(rest);
    NAMES.iter().find(|(_, names, _)| names.contains(&rest)).map(|(msr, ..)| *msr)
}

/// The register with this number, if the tag is an array of such.
pub(super) fn by_number(name: &str, number: u32) -> Option<Msr> {
    let is_array = name.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("msr"));
    let known = NAMES.iter().find(|(.., n)| *n == number && number != u32::MAX);
    known.filter(|_| is_array).map(|(msr, ..)| *msr)
}

/// Where a register's value belongs; segment bases have their place elsewhere.
pub(super) fn slot(msrs: &mut Msrs, msr: Msr) -> Option<&mut Option<u64>> {
    Some(match msr {
        Msr::Efer => &mut msrs.efer,
        Msr::Star => &mut msrs.star,
        Msr::Lstar => &mut msrs.lstar,
        Msr::Cstar => &mut msrs.cstar,
        Msr::Sfmask => &mut msrs.sfmask,
        Msr::KernelGsBase => &mut msrs.kernel_gs_base,
        Msr::SysenterCs => &mut msrs.sysenter_cs,
        Msr::SysenterEsp => &mut msrs.sysenter_esp,
        Msr::SysenterEip => &mut msrs.sysenter_eip,
        Msr::Pat => &mut msrs.pat,
        Msr::Tsc => &mut msrs.tsc,
        Msr::TscAux => &mut msrs.tsc_aux,
        Msr::Xcr0 => &mut msrs.xcr0,
        Msr::FsBase | Msr::GsBase => return None,
    })
}

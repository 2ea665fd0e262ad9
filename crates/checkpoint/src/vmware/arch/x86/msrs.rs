//! Model-specific registers: tags of real files, and names that look like one.
//!
//! Tags named `MSR` have the register's number as second index. A name that no
//! known file has is compared without regard to case, separators and the usual
//! prefixes, and what matched is reported.

use std::fmt;

use vmss2core_machine::x86::Msrs;

/// A register by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::vmware) struct Msr(pub(in crate::vmware) u32);

impl Msr {
    pub(in crate::vmware) const STAR: Self = Self(0xc000_0081);
    pub(in crate::vmware) const FS_BASE: Self = Self(0xc000_0100);
    pub(in crate::vmware) const GS_BASE: Self = Self(0xc000_0101);
    /// No MSR, but saved beside them.
    pub(in crate::vmware) const XCR0: Self = Self(u32::MAX);
    /// The pointer of the shadow stack; no MSR either.
    const SSP: Self = Self(u32::MAX - 1);

    fn is_numbered(self) -> bool {
        self < Self::SSP
    }
}

/// Tags of files of 2012, 2016 and 2022 (numbers: Intel SDM volume 4, chapter 2;
/// AMD's manual volume 2, appendix A).
const TAGS: [(&str, Msr); 29] = [
    ("EFER", Msr(0xc000_0080)),
    ("STAR", Msr::STAR),
    ("LSTAR", Msr(0xc000_0082)),
    ("CSTAR", Msr(0xc000_0083)),
    ("SFMASK", Msr(0xc000_0084)),
    ("KERNELGSBASE", Msr(0xc000_0102)),
    ("sysEnterCS", Msr(0x174)),
    ("sysEnterESP", Msr(0x175)),
    ("sysEnterEIP", Msr(0x176)),
    ("PAT", Msr(0x277)),
    ("tscAux", Msr(0xc000_0103)),
    ("tscDeadline", Msr(0x6e0)),
    ("XCR0", Msr::XCR0),
    ("msrXSS", Msr(0xda0)),
    ("msrXFD", Msr(0x1c4)),
    ("msrXFDErr", Msr(0x1c5)),
    ("bndcfgs", Msr(0xd90)),
    ("msrUCET", Msr(0x6a0)),
    ("msrSCET", Msr(0x6a2)),
    ("msrPL0ssp", Msr(0x6a4)),
    ("msrPL1ssp", Msr(0x6a5)),
    ("msrPL2ssp", Msr(0x6a6)),
    ("msrPL3ssp", Msr(0x6a7)),
    ("msrISST", Msr(0x6a8)),
    ("msrPKRS", Msr(0x6e1)),
    ("msrUmwait", Msr(0xe1)),
    ("specCtrl", Msr(0x48)),
    ("deCfg", Msr(0xc001_1029)),
    ("ssp", Msr::SSP),
];

/// Other spellings, in lower case without separators.
const SPELLINGS: [(&str, Msr); 17] = [
    ("efer", Msr(0xc000_0080)),
    ("star", Msr::STAR),
    ("lstar", Msr(0xc000_0082)),
    ("cstar", Msr(0xc000_0083)),
    ("sfmask", Msr(0xc000_0084)),
    ("fmask", Msr(0xc000_0084)),
    ("syscallmask", Msr(0xc000_0084)),
    ("fsbase", Msr::FS_BASE),
    ("gsbase", Msr::GS_BASE),
    ("kernelgsbase", Msr(0xc000_0102)),
    ("kernelgs", Msr(0xc000_0102)),
    ("sysentercs", Msr(0x174)),
    ("sysenteresp", Msr(0x175)),
    ("sysentereip", Msr(0x176)),
    ("pat", Msr(0x277)),
    ("tsc", Msr(0x10)),
    ("tscaux", Msr(0xc000_0103)),
];

/// The first spelling, or the tag, or the number.
impl fmt::Display for Msr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SPELLINGS.iter().chain(&TAGS).find(|(_, msr)| msr == self) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "MSR {:#x}", self.0),
        }
    }
}

/// Prefixes that say no more than "a register".
const PREFIXES: [&str; 6] = ["msr", "ia32", "k6", "amd64", "cpu", "hv"];

/// The register that real files have under this name.
pub(in crate::vmware) fn by_tag(name: &str) -> Option<Msr> {
    TAGS.iter().find(|(tag, _)| *tag == name).map(|(_, msr)| *msr)
}

/// The register with this name, whatever the spelling.
pub(in crate::vmware) fn by_spelling(name: &str) -> Option<Msr> {
    let mut plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    plain.make_ascii_lowercase();
    let mut rest = plain.as_str();
    while let Some(shorter) = PREFIXES.iter().find_map(|prefix| rest.strip_prefix(prefix)) {
        rest = shorter;
    }
    let rest = rest.strip_suffix("64").unwrap_or(rest);
    SPELLINGS.iter().find(|(spelling, _)| *spelling == rest).map(|(_, msr)| *msr)
}

/// The register with this number, if the tag is an array of such.
pub(in crate::vmware) fn by_number(name: &str, number: u32) -> Option<Msr> {
    let is_array = name.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("msr"));
    Some(Msr(number)).filter(|msr| is_array && msr.is_numbered())
}

/// Where a register's value belongs; `None` for those without a place of their
/// own. Segment bases have theirs elsewhere.
pub(in crate::vmware) fn slot(msrs: &mut Msrs, msr: Msr) -> Option<&mut Option<u64>> {
    Some(match msr.0 {
        0xc000_0080 => &mut msrs.efer,
        0xc000_0081 => &mut msrs.star,
        0xc000_0082 => &mut msrs.lstar,
        0xc000_0083 => &mut msrs.cstar,
        0xc000_0084 => &mut msrs.sfmask,
        0xc000_0102 => &mut msrs.kernel_gs_base,
        0xc000_0103 => &mut msrs.tsc_aux,
        0x174 => &mut msrs.sysenter_cs,
        0x175 => &mut msrs.sysenter_esp,
        0x176 => &mut msrs.sysenter_eip,
        0x277 => &mut msrs.pat,
        0x10 => &mut msrs.tsc,
        _ if msr == Msr::XCR0 => &mut msrs.xcr0,
        _ if msr == Msr::SSP => &mut msrs.ssp,
        _ => return None,
    })
}

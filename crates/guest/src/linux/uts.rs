//! Names of the system, as `uname -a` prints them in the guest: `init_uts_ns`.

use vmss2core_mem::{Found, Gva};

use super::{Kernel, LinuxError};
use crate::LinuxFacts;

/// Bytes of each name in `struct new_utsname` (`<linux/utsname.h>`).
const NAME_LEN: usize = 65;
const NAMES: usize = 6;

/// The system's names, each of at most 64 bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UtsName {
    /// `Linux`.
    pub sysname: String,
    /// The host's name.
    pub nodename: String,
    /// The kernel's release.
    pub release: String,
    /// Which build of the release: `#1 SMP ...`.
    pub version: String,
    /// `x86_64` or `i686`.
    pub machine: String,
    /// The NIS domain, `(none)` as a rule.
    pub domainname: String,
}

impl Kernel {
    /// The system's names; those that can be told from the banner if the
    /// kernel's own cannot be read.
    pub fn uts_name(&self) -> Result<Found<UtsName>, LinuxError> {
        self.own_uts_name().or_else(|error| self.uts_name_of_banner().ok_or(error))
    }

    fn own_uts_name(&self) -> Result<Found<UtsName>, LinuxError> {
        let at = self.symbol("init_uts_ns")?;
        // VMCOREINFO says the offset since 5.11, when the counter in front of the
        // names (`kref`, 4 bytes) went after them.
        let stated = self
            .linux()
            .vmcoreinfo
            .as_ref()
            .and_then(|info| info.value.get("OFFSET(uts_namespace.name)")?.parse::<u64>().ok());
        let offsets = stated.map_or(vec![4, 0], |offset| vec![offset]);
        let read = |offset: &u64| self.uts_name_at(Gva(at.value.0.wrapping_add(*offset)));
        let found = offsets.iter().map(read).find(Result::is_ok);
        let name = found.unwrap_or_else(|| {
            Err(LinuxError::Corrupt {
                what: "init_uts_ns".to_owned(),
                at: at.value,
                why: "it does not begin with the name Linux".to_owned(),
            })
        })?;
        Ok(Found::new(name, format!("init_uts_ns, {}", at.how)))
    }

    fn uts_name_at(&self, gva: Gva) -> Result<UtsName, LinuxError> {
        let mut bytes = [0; NAME_LEN * NAMES];
        self.read(gva, &mut bytes, "init_uts_ns")?;
        parse(&bytes).ok_or_else(|| LinuxError::Corrupt {
            what: "init_uts_ns".to_owned(),
            at: gva,
            why: "these are not the names of a Linux system".to_owned(),
        })
    }

    fn uts_name_of_banner(&self) -> Option<Found<UtsName>> {
        let release = self.linux().release.as_ref()?;
        Some(Found::new(UtsName::of_banner(self.linux()), &release.how))
    }
}

impl UtsName {
    /// Names that the kernel's banner and its processor tell; those that
    /// they do not tell are what a kernel has before it is told.
    pub fn of_banner(linux: &LinuxFacts) -> Self {
        let release = linux.release.as_ref().map_or("0.0", |release| &release.value);
        let banner = linux.banner.as_ref().map_or("", |banner| banner.value.trim());
        let version = banner.rfind(") #").and_then(|at| banner.get(at.saturating_add(2)..));
        Self {
            sysname: "Linux".to_owned(),
            nodename: "(none)".to_owned(),
            release: cut(release),
            version: cut(version.unwrap_or("#1")),
            machine: if linux.is_64_bit { "x86_64" } else { "i686" }.to_owned(),
            domainname: "(none)".to_owned(),
        }
    }
}

/// Room for a name with its NUL.
fn cut(text: &str) -> String {
    let mut end = text.len().min(NAME_LEN - 1);
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    text.get(..end).unwrap_or_default().to_owned()
}

/// `None` unless these are the names of a Linux system.
fn parse(bytes: &[u8; NAME_LEN * NAMES]) -> Option<UtsName> {
    let mut names = bytes.chunks_exact(NAME_LEN).map(|raw| {
        let len = raw.iter().position(|byte| *byte == 0)?;
        let text = std::str::from_utf8(raw.get(..len)?).ok()?;
        (!text.chars().any(char::is_control)).then(|| text.to_owned())
    });
    let mut next = || names.next().flatten();
    let name = UtsName {
        sysname: next()?,
        nodename: next()?,
        release: next()?,
        version: next()?,
        machine: next()?,
        domainname: next()?,
    };
    let is_whole = [&name.release, &name.version, &name.machine].iter().all(|n| !n.is_empty());
    (name.sysname == "Linux" && is_whole).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(names: [&str; NAMES]) -> [u8; NAME_LEN * NAMES] {
        let mut bytes = [0; NAME_LEN * NAMES];
        for (raw, name) in bytes.chunks_exact_mut(NAME_LEN).zip(names) {
            raw[..name.len()].copy_from_slice(name.as_bytes());
        }
        bytes
    }

    const NAMES_OF_A_GUEST: [&str; NAMES] =
        ["Linux", "db1", "6.1.0-50-amd64", "#1 SMP Debian 6.1.170-1", "x86_64", "(none)"];

    #[test]
    fn names_are_read_in_their_order() {
        let name = parse(&bytes(NAMES_OF_A_GUEST)).unwrap();
        assert_eq!(name.nodename, "db1");
        assert_eq!(name.version, "#1 SMP Debian 6.1.170-1");
        assert_eq!(name.machine, "x86_64");
        assert_eq!(name.domainname, "(none)");
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for (index, text) in [(0, "Minux"), (2, ""), (3, ""), (4, ""), (1, "a\x1bb")] {
            let mut names = NAMES_OF_A_GUEST;
            names[index] = text;
            assert_eq!(parse(&bytes(names)), None, "{index} {text:?}");
        }
        // A name without an end.
        let mut endless = bytes(NAMES_OF_A_GUEST);
        endless[NAME_LEN..2 * NAME_LEN].fill(b'x');
        assert_eq!(parse(&endless), None);
        let mut not_text = bytes(NAMES_OF_A_GUEST);
        not_text[NAME_LEN] = 0xff;
        assert_eq!(parse(&not_text), None);
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(cut(&"ä".repeat(60)).len(), 64);
        assert_eq!(cut(&format!("x{}", "ä".repeat(60))).len(), 63);
        assert_eq!(cut("short"), "short");
    }
}

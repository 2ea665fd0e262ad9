//! Where a distribution puts the symbols of its kernels, judged by the banner.
//!
//! Folklore, as of each distribution's own documentation: the banner names the
//! build host or packager (`debian-kernel@lists.debian.org`, `buildd@`,
//! `mockbuild@`, `geeko@`), the release carries the distribution's suffix
//! (`.el9`, `.fc40`, `.amzn2023`). A compiler's distribution says nothing: people build
//! kernels of their own with it.

/// How to get a kernel with symbols.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DebugSymbols {
    /// Distribution that the kernel is from, if it is a known one.
    pub distribution: Option<&'static str>,
    /// The package with the symbols.
    pub package: Option<String>,
    /// Command that installs the symbols.
    pub install: Option<String>,
    /// Path of the kernel with symbols once they are installed; without a
    /// directory if the distribution is not known.
    pub vmlinux: String,
}

/// How to get the symbols of the kernel with this banner and release.
///
/// ```
/// let symbols = vmss2core_guest::linux::debug_symbols(
///     "Linux version 6.1.0-28-amd64 (debian-kernel@lists.debian.org) #1 SMP Debian 6.1.119-1",
///     "6.1.0-28-amd64",
/// );
/// assert_eq!(symbols.vmlinux, "/usr/lib/debug/boot/vmlinux-6.1.0-28-amd64");
/// ```
pub fn debug_symbols(banner: &str, release: &str) -> DebugSymbols {
    let Some(release) = plain_release(release) else {
        return DebugSymbols { vmlinux: "vmlinux".into(), ..DebugSymbols::default() };
    };
    let known = DISTRIBUTIONS.iter().find(|d| (d.made)(banner, release));
    match known {
        Some(distribution) => DebugSymbols {
            distribution: Some(distribution.name),
            package: Some(distribution.package.replace("RELEASE", release)),
            install: Some(distribution.install.replace("RELEASE", release)),
            vmlinux: distribution.vmlinux.replace("RELEASE", release),
        },
        None => DebugSymbols { vmlinux: format!("vmlinux-{release}"), ..DebugSymbols::default() },
    }
}

/// A release goes into commands that people paste, so it must look like one.
fn plain_release(release: &str) -> Option<&str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.+~".contains(c);
    let first_is_digit = release.starts_with(|c: char| c.is_ascii_digit());
    (first_is_digit && release.len() <= 64 && release.chars().all(plain)).then_some(release)
}

/// What a banner says of the build, without the group in which the compiler names itself:
/// `Linux version RELEASE (BUILDER) (COMPILER) #NUMBER ...`.
fn without_compiler(banner: &str) -> String {
    let (head, tail) = banner.split_once(" #").unwrap_or((banner, ""));
    let compiler = head.match_indices(" (").map(|(at, _)| at).find(|at| {
        let group = head.get(*at..).unwrap_or_default();
        let first = group.split([')', '@']).next().unwrap_or_default();
        ["gcc", "clang", "icc"].iter().any(|name| first.contains(name))
    });
    let head = compiler.and_then(|at| head.get(..at)).unwrap_or(head);
    format!("{head} #{tail}")
}

struct Distribution {
    name: &'static str,
    made: fn(banner: &str, release: &str) -> bool,
    package: &'static str,
    install: &'static str,
    vmlinux: &'static str,
}

static DISTRIBUTIONS: &[Distribution] = &[
    Distribution {
        name: "Ubuntu",
        made: |banner, release| {
            // The first ones say so by the names of their flavours only.
            let is_flavour = |name| release.ends_with(name);
            without_compiler(banner).contains("Ubuntu")
                || banner.contains("(Ubuntu ") && ["-generic", "-server"].iter().any(is_flavour)
        },
        package: "linux-image-unsigned-RELEASE-dbgsym",
        install: "apt install linux-image-RELEASE-dbgsym  # from ddebs.ubuntu.com",
        vmlinux: "/usr/lib/debug/boot/vmlinux-RELEASE",
    },
    Distribution {
        name: "Debian",
        made: |banner, _| {
            let own = without_compiler(banner);
            own.contains("debian-kernel@lists.debian.org") || own.contains("Debian")
        },
        package: "linux-image-RELEASE-dbg",
        install: "apt install linux-image-RELEASE-dbg",
        vmlinux: "/usr/lib/debug/boot/vmlinux-RELEASE",
    },
    Distribution {
        name: "Amazon Linux",
        made: |_, release| release.contains(".amzn"),
        package: "kernel-debuginfo-RELEASE",
        install: "dnf debuginfo-install kernel-RELEASE",
        vmlinux: "/usr/lib/debug/lib/modules/RELEASE/vmlinux",
    },
    Distribution {
        name: "Fedora",
        made: |_, release| release.contains(".fc"),
        package: "kernel-debuginfo-RELEASE",
        install: "dnf debuginfo-install kernel-RELEASE",
        vmlinux: "/usr/lib/debug/lib/modules/RELEASE/vmlinux",
    },
    Distribution {
        name: "Red Hat family",
        made: |banner, release| release.contains(".el") || banner.contains(".redhat.com"),
        package: "kernel-debuginfo-RELEASE",
        install: "debuginfo-install kernel-RELEASE",
        vmlinux: "/usr/lib/debug/lib/modules/RELEASE/vmlinux",
    },
    Distribution {
        name: "SUSE",
        made: |banner, _| banner.contains("geeko@") || banner.contains("(SUSE Linux)"),
        package: "kernel-default-debuginfo",
        install: "zypper install kernel-default-debuginfo  # for RELEASE",
        vmlinux: "/usr/lib/debug/boot/vmlinux-RELEASE.debug",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_distribution_is_known_by_its_banner() {
        for (banner, release, name) in [
            (
                "Linux version 5.10.0-33-amd64 (debian-kernel@lists.debian.org) (gcc-10 (Debian 10.2.1-6) 10.2.1 20210110) #1 SMP Debian 5.10.226-1",
                "5.10.0-33-amd64",
                Some("Debian"),
            ),
            (
                "Linux version 5.15.0-91-generic (buildd@lcy02-amd64-045) (gcc (Ubuntu 11.4.0-1ubuntu1~22.04) 11.4.0) #101-Ubuntu SMP",
                "5.15.0-91-generic",
                Some("Ubuntu"),
            ),
            (
                "Linux version 5.14.0-362.8.1.el9_3.x86_64 (mockbuild@x86-64-02.build.eng.rdu2.redhat.com)",
                "5.14.0-362.8.1.el9_3.x86_64",
                Some("Red Hat family"),
            ),
            (
                "Linux version 6.8.5-301.fc40.x86_64 (mockbuild@1.fedoraproject.org)",
                "6.8.5-301.fc40.x86_64",
                Some("Fedora"),
            ),
            ("Linux version 6.9.0 (me@here)", "6.9.0", None),
            (
                "Linux version 2.6.32-5-amd64 (Debian 2.6.32-48) (ben@decadent.org.uk) (gcc version 4.3.5 (Debian 4.3.5-4) ) #1 SMP Fri Feb 15 15:39:52 UTC 2013",
                "2.6.32-5-amd64",
                Some("Debian"),
            ),
            (
                "Linux version 2.6.20-15-generic (root@terranova) (gcc version 4.1.2 (Ubuntu 4.1.2-0ubuntu4)) #2 SMP Sun Apr 15 07:36:31 UTC 2007",
                "2.6.20-15-generic",
                Some("Ubuntu"),
            ),
            (
                "Linux version 2.6.20.1 (sergi@ubuntu-desktop) (gcc versi\u{f3} 4.2.4 (Ubuntu 4.2.4-1ubuntu3)) #1 Sat Nov 1 17:53:00 CET 2008",
                "2.6.20.1",
                None,
            ),
            (
                "Linux version 2.4.31 (root@box) (gcc version 2.95.4 20011002 (Debian prerelease)) #6 SMP Fri Oct 21 15:15:54 EDT 2005",
                "2.4.31",
                None,
            ),
            (
                "Linux version 6.1.0-28-amd64 (debian-kernel@lists.debian.org) (gcc-12 (Debian 12.2.0-14) 12.2.0, GNU ld (GNU Binutils for Debian) 2.40) #1 SMP PREEMPT_DYNAMIC Debian 6.1.119-1 (2024-11-22)",
                "6.1.0-28-amd64",
                Some("Debian"),
            ),
        ] {
            let symbols = debug_symbols(banner, release);
            assert_eq!(symbols.distribution, name);
            assert!(symbols.vmlinux.contains(release), "{symbols:?}");
        }
    }

    #[test]
    fn a_release_that_is_none_stays_out_of_commands() {
        for release in ["6.1; rm -rf /", "$(x)", "", "x6", "6\u{1b}[2J"] {
            let symbols = debug_symbols("Debian", release);
            assert_eq!(symbols.vmlinux, "vmlinux");
            assert_eq!(symbols.install, None);
        }
    }
}

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
    /// Command that installs the symbols, on a machine of this distribution.
    pub install: Option<String>,
    /// Server that has them by build id, for any machine.
    pub debuginfod: Option<&'static str>,
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
        return DebugSymbols {
            vmlinux: "vmlinux".into(),
            debuginfod: Some(EVERYONES),
            ..DebugSymbols::default()
        };
    };
    let fill = |text: &str| {
        let of_i386 = if is_i386(release) { ":i386" } else { "" };
        let flavour = release.rsplit('-').next().unwrap_or("default");
        text.replace("RELEASE", release).replace("FLAVOUR", flavour).replace(":ARCH", of_i386)
    };
    let known = DISTRIBUTIONS.iter().find(|d| (d.made)(banner, release));
    match known {
        Some(distribution) => DebugSymbols {
            distribution: Some(distribution.name),
            package: Some(fill(distribution.package)).filter(|package| !package.is_empty()),
            install: Some(fill(distribution.install)).filter(|install| !install.is_empty()),
            debuginfod: distribution.debuginfod,
            vmlinux: fill(distribution.vmlinux),
        },
        None => DebugSymbols {
            vmlinux: format!("vmlinux-{release}"),
            debuginfod: Some(EVERYONES),
            ..DebugSymbols::default()
        },
    }
}

/// The server of elfutils' makers, which asks those of distributions.
const EVERYONES: &str = "https://debuginfod.elfutils.org";

/// The flavours of Debian and Ubuntu for 32-bit machines: on others their packages are of a
/// foreign architecture.
fn is_i386(release: &str) -> bool {
    ["-686", "-686-pae", "-rt-686-pae", "-586", "-486"].iter().any(|end| release.ends_with(end))
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
    /// `:ARCH` is where the architecture of a foreign package goes.
    install: &'static str,
    debuginfod: Option<&'static str>,
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
        install: "sudo apt install linux-image-RELEASE-dbgsym  # from ddebs.ubuntu.com",
        debuginfod: Some("https://debuginfod.ubuntu.com"),
        vmlinux: "/usr/lib/debug/boot/vmlinux-RELEASE",
    },
    Distribution {
        name: "Debian",
        made: |banner, _| {
            let own = without_compiler(banner);
            own.contains("debian-kernel@lists.debian.org") || own.contains("Debian")
        },
        package: "linux-image-RELEASE-dbg",
        install: "sudo apt install linux-image-RELEASE-dbg:ARCH",
        debuginfod: Some("https://debuginfod.debian.net"),
        vmlinux: "/usr/lib/debug/boot/vmlinux-RELEASE",
    },
    Distribution {
        name: "Amazon Linux",
        made: |_, release| release.contains(".amzn"),
        package: "kernel-debuginfo-RELEASE",
        install: "sudo dnf debuginfo-install kernel-RELEASE",
        debuginfod: None,
        vmlinux: "/usr/lib/debug/lib/modules/RELEASE/vmlinux",
    },
    Distribution {
        name: "Fedora",
        made: |_, release| release.contains(".fc"),
        package: "kernel-debuginfo-RELEASE",
        install: "sudo dnf debuginfo-install kernel-RELEASE",
        debuginfod: Some("https://debuginfod.fedoraproject.org"),
        vmlinux: "/usr/lib/debug/lib/modules/RELEASE/vmlinux",
    },
    Distribution {
        name: "Oracle UEK",
        made: |_, release| release.contains("uek"),
        package: "kernel-uek-debuginfo-RELEASE",
        install: "sudo dnf install kernel-uek-debuginfo-RELEASE  # from oss.oracle.com",
        debuginfod: None,
        vmlinux: "/usr/lib/debug/lib/modules/RELEASE/vmlinux",
    },
    Distribution {
        name: "Photon",
        // 5.10.152-6.ph4, 5.10.152-6.ph4-esx
        made: |_, release| {
            release
                .split(['.', '-'])
                .any(|part| part.strip_prefix("ph").is_some_and(|n| n.parse::<u8>().is_ok()))
        },
        package: "linux-debuginfo",
        install: "sudo tdnf install linux-debuginfo  # of RELEASE, from the photon-debuginfo repository",
        debuginfod: None,
        vmlinux: "/usr/lib/debug/lib/modules/RELEASE/vmlinux-RELEASE",
    },
    Distribution {
        name: "Red Hat family",
        made: |banner, release| release.contains(".el") || banner.contains(".redhat.com"),
        package: "kernel-debuginfo-RELEASE",
        install: "sudo dnf debuginfo-install kernel-RELEASE",
        debuginfod: Some("https://debuginfod.centos.org"),
        vmlinux: "/usr/lib/debug/lib/modules/RELEASE/vmlinux",
    },
    Distribution {
        name: "SUSE",
        made: |banner, _| banner.contains("geeko@") || banner.contains("(SUSE Linux)"),
        // 6.4.0-150600.23.47-default: the flavour ends it.
        package: "kernel-FLAVOUR-debuginfo",
        install: "sudo zypper install kernel-FLAVOUR-debuginfo  # for RELEASE",
        debuginfod: Some("https://debuginfod.opensuse.org"),
        vmlinux: "/usr/lib/debug/boot/vmlinux-RELEASE.debug",
    },
    Distribution {
        name: "Arch",
        made: |banner, _| banner.contains("@archlinux)"),
        package: "",
        install: "",
        debuginfod: Some("https://debuginfod.archlinux.org"),
        vmlinux: "vmlinux-RELEASE",
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
                "Linux version 5.10.152-6.ph4-esx (root@photon) (gcc (GCC) 10.2.0)",
                "5.10.152-6.ph4-esx",
                Some("Photon"),
            ),
            (
                "Linux version 5.15.0-200.131.27.el9uek.x86_64 (mockbuild@host) (gcc (GCC) 11.3.1)",
                "5.15.0-200.131.27.el9uek.x86_64",
                Some("Oracle UEK"),
            ),
            (
                "Linux version 6.9.7-arch1-1 (linux@archlinux) (gcc (GCC) 14.1.1 20240522)",
                "6.9.7-arch1-1",
                Some("Arch"),
            ),
            (
                "Linux version 6.4.0-150600.23.47-azure (geeko@buildhost) (gcc (SUSE Linux) 7.5.0)",
                "6.4.0-150600.23.47-azure",
                Some("SUSE"),
            ),
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
    fn packages_are_named_for_the_flavour_and_a_foreign_architecture() {
        let install = |banner, release| debug_symbols(banner, release).install.unwrap();
        assert_eq!(
            install("(debian-kernel@lists.debian.org)", "5.10.0-32-686-pae"),
            "sudo apt install linux-image-5.10.0-32-686-pae-dbg:i386"
        );
        assert_eq!(
            install("(geeko@buildhost)", "6.4.0-150600.23.47-azure"),
            "sudo zypper install kernel-azure-debuginfo  # for 6.4.0-150600.23.47-azure"
        );
        let debian = debug_symbols("(debian-kernel@lists.debian.org)", "6.1.0-28-amd64");
        assert_eq!(debian.debuginfod, Some("https://debuginfod.debian.net"));
        assert_eq!(debug_symbols("(me@here)", "6.9.0").debuginfod, Some(EVERYONES));
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

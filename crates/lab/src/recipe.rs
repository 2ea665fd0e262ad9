//! The guests that can be made.

use crate::apt::Wanted;
use crate::kernel::KernelRecipe;
use crate::system::{self, System};

/// What a guest is made of.
#[derive(Clone, Copy, Debug)]
pub struct Recipe {
    /// Its name.
    pub name: &'static str,
    /// Its purpose.
    pub about: &'static str,
    /// Its kernel.
    pub kernel: KernelRecipe,
    /// QEMU's processor model.
    pub cpu: &'static str,
    /// How many processors.
    pub cpus: u32,
    /// Memory.
    pub memory_mib: u64,
    /// What is added to the kernel's command line.
    pub command_line: &'static str,
    /// The line on the serial console after which it is stopped.
    pub stop_at: &'static str,
}

/// What only one guest has. It is no part of its recipe, so that all others stay
/// as they are when it changes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extra {
    /// The guest.
    guest: &'static str,
    /// Modules that depend on no others.
    pub(crate) modules: &'static [&'static str],
    /// A program of one file, and its source.
    pub(crate) program: (&'static str, &'static str),
    /// A script that runs beside the programs, and its text; no name, no script.
    pub(crate) script: (&'static str, &'static str),
    /// An empty disk, if it has a size.
    pub(crate) disk_mib: u64,
}

const EXTRAS: [Extra; 5] = [
    Extra {
        guest: "linux-6.1-rare",
        modules: &["overlay"],
        program: ("rare", include_str!("../programs/rare.c")),
        script: ("linked", include_str!("../programs/linked")),
        disk_mib: 64,
    },
    Extra {
        guest: "linux-6.1-vectors",
        modules: &[],
        program: ("vectors", include_str!("../programs/vectors.c")),
        script: ("", ""),
        disk_mib: 0,
    },
    Extra { guest: "linux-6.1-frame-pointers", ..WHERE },
    Extra { guest: "linux-6.1-bare", ..WHERE },
    Extra { guest: "linux-6.1-no-kallsyms", ..WHERE },
];

/// For kernels that are built here, which can say where each thread sleeps.
const WHERE: Extra = Extra {
    guest: "",
    modules: &[],
    program: ("where", include_str!("../programs/where.c")),
    script: ("", ""),
    disk_mib: 0,
};

/// The guest that keeps a second kernel for the case of a crash; with its name, the
/// source of the program that loads that kernel and is its first process.
const CRASH_KERNEL: (&str, &str, &str) =
    ("linux-6.1-kdump", "kdump", include_str!("../programs/kdump.c"));

impl Recipe {
    /// What it has beyond all others.
    pub(crate) fn extra(&self) -> Option<&'static Extra> {
        EXTRAS.iter().find(|extra| extra.guest == self.name)
    }

    /// Name and source of the program that loads a kernel to run after a crash, and is
    /// its first process.
    pub(crate) fn crash_program(&self) -> Option<(&'static str, &'static str)> {
        let (guest, name, text) = CRASH_KERNEL;
        (guest == self.name).then_some((name, text))
    }

    /// Whether it runs an installed system from a disk, not the lab's own script.
    pub fn has_system(&self) -> bool {
        self.system().is_some()
    }

    /// What it runs from, if that is a disk.
    pub(crate) fn system(&self) -> Option<&'static System> {
        system::of_guest(self.name)
    }
}

/// Every recipe.
pub fn recipes() -> &'static [Recipe] {
    &RECIPES
}

/// The recipe of this name.
pub fn recipe(name: &str) -> Option<&'static Recipe> {
    RECIPES.iter().find(|recipe| recipe.name == name)
}

const BOOKWORM: &[&str] = &["bookworm", "bookworm-security"];

const fn amd64(name: &'static str, package: &'static str, suites: &'static [&str]) -> KernelRecipe {
    let image = Wanted { name: package, architecture: "amd64", suites };
    KernelRecipe { name, image, separate_modules: false, is_64_bit: true }
}

const fn i386(name: &'static str, package: &'static str, suites: &'static [&str]) -> KernelRecipe {
    let image = Wanted { name: package, architecture: "i386", suites };
    KernelRecipe { name, image, separate_modules: false, is_64_bit: false }
}

const CLOUD_6_1: KernelRecipe =
    amd64("linux-6.1-cloud", "linux-image-6\\.1\\.0-[0-9]+-cloud-amd64-unsigned", BOOKWORM);

const DEFAULT: Recipe = Recipe {
    name: "linux-6.1",
    about: "5-level paging",
    kernel: CLOUD_6_1,
    cpu: "max",
    cpus: 2,
    memory_mib: 512,
    command_line: "panic=-1",
    stop_at: "READY",
};

const fn pae(name: &'static str, kernel: KernelRecipe) -> Recipe {
    Recipe { name, kernel, about: "32-bit, PAE", cpu: "qemu32,nx=on", ..DEFAULT }
}

const fn two_level(name: &'static str, kernel: KernelRecipe) -> Recipe {
    Recipe { name, kernel, about: "32-bit, 2-level paging", cpu: "qemu32", ..DEFAULT }
}

const I386_6_1: KernelRecipe =
    i386("linux-6.1-686", "linux-image-6\\.1\\.0-[0-9]+-686-unsigned", BOOKWORM);

const fn built(name: &'static str) -> KernelRecipe {
    amd64(name, "linux-source-6\\.1", BOOKWORM)
}

const RECIPES: [Recipe; 20] = [
    DEFAULT,
    Recipe {
        name: "linux-6.1-4level",
        about: "4-level paging with page table isolation",
        cpu: "max,la57=off",
        command_line: "panic=-1 pti=on",
        ..DEFAULT
    },
    Recipe {
        name: "linux-6.1-6g",
        about: "6 GiB around the hole for devices, 4 processors",
        cpus: 4,
        memory_mib: 6144,
        ..DEFAULT
    },
    Recipe {
        name: "linux-6.1-rare",
        about: "swapped pages, a page of 1 GiB, an overlay, linked libraries",
        memory_mib: 6144,
        command_line: "panic=-1 hugepagesz=1G hugepages=1",
        ..DEFAULT
    },
    Recipe {
        name: "linux-6.1-vectors",
        about: "known values in x87 and vector registers",
        cpu: "max,la57=off",
        cpus: 3,
        ..DEFAULT
    },
    Recipe {
        name: "linux-6.1-panic",
        about: "a kernel that has crashed (sysrq c)",
        command_line: "panic=0 lab.panic",
        stop_at: "end Kernel panic",
        ..DEFAULT
    },
    Recipe {
        name: "linux-6.1-kdump",
        about: "a kernel that has crashed, and the second one that runs since then",
        command_line: "panic=0 lab.panic crashkernel=128M",
        stop_at: "CRASH KERNEL READY",
        ..DEFAULT
    },
    Recipe {
        name: "linux-6.1-production",
        about: "an installed Debian: its ordinary kernel, disks, little memory, a hung disk",
        kernel: amd64("linux-6.1-amd64", "linux-image-6\\.1\\.0-[0-9]+-amd64-unsigned", BOOKWORM),
        memory_mib: 1024,
        command_line: "panic=-1 net.ifnames=0 systemd.show_status=0 loglevel=5 \
                       transparent_hugepage=madvise",
        ..DEFAULT
    },
    Recipe {
        name: "linux-6.1-frame-pointers",
        about: "a small kernel that keeps frame pointers, built from source, and has crashed",
        kernel: built("linux-6.1-frame-pointers"),
        // One that asks for the crash, one in a program, and one that idles.
        cpus: 3,
        command_line: "panic=0 lab.panic",
        stop_at: "end Kernel panic",
        ..DEFAULT
    },
    Recipe {
        name: "linux-6.1-bare",
        about: "a small kernel without symbols of variables, BTF and VMCOREINFO",
        kernel: built("linux-6.1-bare"),
        ..DEFAULT
    },
    Recipe {
        name: "linux-6.1-no-kallsyms",
        about: "a smaller one without any kallsyms",
        kernel: built("linux-6.1-no-kallsyms"),
        ..DEFAULT
    },
    Recipe {
        name: "linux-5.10",
        about: "Debian 11, 4-level paging",
        kernel: amd64(
            "linux-5.10-cloud",
            "linux-image-5\\.10\\.0-[0-9]+-cloud-amd64-unsigned",
            &["bullseye"],
        ),
        cpu: "max,la57=off",
        ..DEFAULT
    },
    Recipe {
        name: "linux-6.12",
        about: "Debian 13",
        kernel: amd64(
            "linux-6.12-cloud",
            "linux-image-6\\.12\\.[0-9]+\\+deb13-cloud-amd64",
            &["trixie"],
        ),
        ..DEFAULT
    },
    Recipe {
        name: "linux-6.12-rt",
        about: "Debian 13, real-time: locks and clocks are laid out in another way",
        kernel: amd64("linux-6.12-rt", "linux-image-6\\.12\\.[0-9]+\\+deb13-rt-amd64", &["trixie"]),
        cpu: "max,la57=off",
        ..DEFAULT
    },
    Recipe {
        name: "linux-sid",
        about: "the newest kernel that Debian has",
        kernel: KernelRecipe {
            separate_modules: true,
            ..amd64("linux-sid-cloud", "linux-binary-[0-9][^-]*-cloud-amd64", &["sid"])
        },
        ..DEFAULT
    },
    pae(
        "linux-5.10-i386-pae",
        i386("linux-5.10-686-pae", "linux-image-5\\.10\\.0-[0-9]+-686-pae-unsigned", &["bullseye"]),
    ),
    two_level(
        "linux-5.10-i386",
        i386("linux-5.10-686", "linux-image-5\\.10\\.0-[0-9]+-686-unsigned", &["bullseye"]),
    ),
    pae(
        "linux-6.1-i386-pae",
        i386("linux-6.1-686-pae", "linux-image-6\\.1\\.0-[0-9]+-686-pae-unsigned", BOOKWORM),
    ),
    two_level("linux-6.1-i386", I386_6_1),
    Recipe {
        about: "32-bit, code is not write-protected",
        command_line: "panic=-1 rodata=off",
        ..two_level("linux-6.1-i386-writable", I386_6_1)
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_name_means_one_recipe() {
        let names: BTreeSet<_> = recipes().iter().map(|recipe| recipe.name).collect();
        assert_eq!(names.len(), recipes().len());
        assert!(names.iter().all(|name| recipe(name).unwrap().name == *name));
        assert!(recipe("linux").is_none());
    }
}

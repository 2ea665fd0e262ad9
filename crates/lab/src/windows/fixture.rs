//! Which guests there are to be made.

use super::space::Paging;

/// A guest to be made.
#[derive(Clone, Debug)]
pub struct Fixture {
    /// Name, unique among [`fixtures`].
    pub name: &'static str,
    /// Build number; with the paging it says which Windows this is.
    pub build: u32,
    /// How the processors translate.
    pub paging: Paging,
    /// What each processor is doing.
    pub cpus: Vec<Doing>,
    /// What the rest depends on.
    pub seed: u64,
    /// Where there is memory.
    pub memory: Layout,
    /// Which registers are known besides those that every checkpoint has.
    pub registers: Known,
    /// What makes it hard to read.
    pub traps: Vec<Trap>,
}

/// What a processor is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// In the kernel.
    Kernel,
    /// In a program; on the shadow root if the kernel hides itself.
    User,
    /// In the hypervisor below Windows.
    Hypervisor,
    /// In the secure kernel.
    SecureKernel,
}

/// Where there is memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// In one range from 0, of this many bytes.
    One(u64),
    /// Below 3 GiB, and this many bytes from 4 GiB on.
    Hole(u64),
    /// 32 MiB and after it this many ranges of few pages.
    Many(u64),
}

/// Which registers are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// All.
    All,
    /// No model-specific ones.
    NoMsrs,
    /// Neither those nor the bases of segments.
    NoBases,
}

/// What makes a guest hard to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trap {
    /// The debugger data block is not encoded, as with a debugger attached.
    PlainKdbg,
    /// User mode has page tables of its own.
    Shadow,
    /// Another image lies between the interrupt handlers and the kernel's start.
    SecondImage,
    /// Old debugger data blocks lie in pages that nothing maps.
    StaleKdbg,
    /// The kernel's header page is in transition.
    HeaderInTransition,
    /// The kernel's header page is not in memory.
    HeaderPagedOut,
    /// The export directory is not in memory.
    ExportsPagedOut,
    /// A driver's header page is in transition.
    DriverInTransition,
    /// Roots of the secure kernel, which map themselves too.
    SecureKernel,
    /// There is no low stub.
    NoLowStub,
    /// 2 MiB of the kernel's code are one page.
    LargePages,
    /// Every word of the kernel's data that was 0 holds noise.
    NoisyData,
    /// The CodeView record is not the first entry of the debug directory.
    CodeViewLast,
    /// Windows has crashed; the other processors are frozen.
    Crashed,
    /// The 32-bit kernel's processors do not say where its version block is.
    NoVersionBlock,
    /// The kernel is of another linker: it has none of the sections that Microsoft's
    /// have, its data is not in one of its own, and no PDB is named.
    OtherLinker,
}

impl Fixture {
    /// A guest without anything hard about it.
    pub fn plain(name: &'static str, build: u32, paging: Paging) -> Self {
        let cpus = vec![Doing::Kernel; 4];
        let (memory, registers) = (Layout::One(32 << 20), Known::All);
        Self { name, build, paging, cpus, seed: 1, memory, registers, traps: Vec::new() }
    }

    /// Whether this is hard about it.
    pub fn has(&self, trap: Trap) -> bool {
        self.traps.contains(&trap)
    }

    fn with(mut self, traps: &[Trap]) -> Self {
        self.traps.extend_from_slice(traps);
        self
    }

    fn doing(mut self, cpus: &[Doing]) -> Self {
        self.cpus = cpus.to_vec();
        self
    }

    fn knowing(mut self, registers: Known) -> Self {
        self.registers = registers;
        self
    }

    fn in_memory(mut self, memory: Layout) -> Self {
        self.memory = memory;
        self
    }

    /// Guest physical ranges of (address, length).
    pub(super) fn ranges(&self) -> Vec<(u64, u64)> {
        match self.memory {
            Layout::One(len) => vec![(0, len)],
            Layout::Hole(above) => vec![(0, 0xc000_0000), (0x1_0000_0000, above)],
            Layout::Many(count) => {
                let more = (0..count).map(|index| (0x400_0000 + index * 0x1_0000, 0x2000));
                [(0, 32 << 20)].into_iter().chain(more).collect()
            }
        }
    }
}

/// Every guest that tests are run on.
pub fn fixtures() -> Vec<Fixture> {
    let mut all = builds();
    all.extend(processors());
    all.extend(traps());
    all
}

/// One plain guest of every build.
fn builds() -> Vec<Fixture> {
    use Paging::{FiveLevel, FourLevel, Pae, TwoLevel};
    vec![
        Fixture::plain("win7-x64", 7601, FourLevel),
        Fixture::plain("win8-x64", 9200, FourLevel),
        Fixture::plain("win81-x64", 9600, FourLevel),
        Fixture::plain("win10-10240-x64", 10240, FourLevel),
        Fixture::plain("win10-14393-x64", 14393, FourLevel),
        Fixture::plain("win10-17763-x64", 17763, FourLevel).with(&[Trap::Shadow]),
        Fixture::plain("win10-19041-x64", 19041, FourLevel),
        Fixture::plain("win11-22621-x64", 22621, FourLevel).with(&[Trap::CodeViewLast]),
        Fixture::plain("win11-26100-x64", 26100, FourLevel).with(&[Trap::CodeViewLast]),
        Fixture::plain("win10-19041-la57", 19041, FiveLevel),
        Fixture::plain("winxp-x86", 2600, TwoLevel),
        Fixture::plain("winxp-pae", 2600, Pae),
        Fixture::plain("win2003-x86", 3790, TwoLevel),
        Fixture::plain("win2003-pae", 3790, Pae),
        Fixture::plain("win7-x86", 7601, TwoLevel),
        Fixture::plain("win7-pae", 7601, Pae),
        Fixture::plain("win10-19041-pae", 19041, Pae),
    ]
}

fn processors() -> Vec<Fixture> {
    use Doing::{Hypervisor, Kernel, SecureKernel, User};
    let win10 = |name| Fixture::plain(name, 19041, Paging::FourLevel);
    let shadowed = |name| win10(name).with(&[Trap::Shadow]);
    vec![
        win10("one-cpu").doing(&[Kernel]),
        win10("sixteen-cpus").doing(&[Kernel; 16]),
        win10("one-in-user-mode").doing(&[Kernel, User, Kernel, Kernel]),
        shadowed("one-in-user-mode-shadowed").doing(&[Kernel, User, Kernel, Kernel]),
        shadowed("all-in-user-mode-shadowed").doing(&[User; 4]),
        shadowed("all-in-user-mode-no-low-stub").doing(&[User; 4]).with(&[Trap::NoLowStub]),
        win10("all-in-user-mode").doing(&[User; 4]),
        win10("one-in-the-hypervisor")
            .doing(&[Kernel, User, Hypervisor, SecureKernel])
            .with(&[Trap::SecureKernel]),
        win10("all-in-the-hypervisor").doing(&[Hypervisor; 2]).with(&[Trap::SecureKernel]),
        win10("no-msrs").knowing(Known::NoMsrs).doing(&[Kernel, User]),
        win10("no-bases").knowing(Known::NoBases).doing(&[Kernel, User]),
        Fixture::plain("win7-pae-user", 7601, Paging::Pae).doing(&[User, Kernel]),
    ]
}

fn traps() -> Vec<Fixture> {
    let win10 = |name| Fixture::plain(name, 19041, Paging::FourLevel);
    let one = |name, trap| win10(name).with(&[trap]);
    vec![
        one("plain-kdbg", Trap::PlainKdbg),
        one("second-image", Trap::SecondImage),
        one("stale-kdbg", Trap::StaleKdbg),
        one("header-in-transition", Trap::HeaderInTransition),
        one("header-paged-out", Trap::HeaderPagedOut),
        one("exports-paged-out", Trap::ExportsPagedOut),
        one("driver-in-transition", Trap::DriverInTransition),
        one("no-low-stub", Trap::NoLowStub),
        one("large-pages", Trap::LargePages),
        one("noisy-data", Trap::NoisyData),
        one("crashed", Trap::Crashed),
        Fixture::plain("crashed-win7-pae", 7601, Paging::Pae).with(&[Trap::Crashed]),
        Fixture::plain("crashed-winxp", 2600, Paging::TwoLevel).with(&[Trap::Crashed]),
        Fixture::plain("crashed-win2003", 3790, Paging::TwoLevel).with(&[Trap::Crashed]),
        Fixture::plain("no-version-block", 7601, Paging::TwoLevel).with(&[Trap::NoVersionBlock]),
        Fixture::plain("no-version-block-pae", 2600, Paging::Pae).with(&[Trap::NoVersionBlock]),
        Fixture::plain("other-linker", 3790, Paging::TwoLevel).with(&[Trap::OtherLinker]),
        Fixture::plain("header-paged-out-pae", 7601, Paging::Pae).with(&[Trap::HeaderPagedOut]),
        win10("hole").in_memory(Layout::Hole(64 << 20)),
        win10("many-ranges").in_memory(Layout::Many(50)),
    ]
}

/// The fixture of this name.
pub fn fixture(name: &str) -> Option<Fixture> {
    fixtures().into_iter().find(|fixture| fixture.name == name)
}

//! Names of Windows.

use vmss2core_guest::windows::WindowsFacts;

/// Names by the first build that has them: of clients and of servers. Sources:
/// Microsoft's release histories.
const NAMES: &[(u32, &str, &str)] = &[
    (2195, "Windows 2000", "Windows 2000 Server"),
    (2600, "Windows XP", "Windows XP"),
    (3790, "Windows XP x64", "Windows Server 2003"),
    (6000, "Windows Vista", "Windows Server 2008"),
    (7600, "Windows 7", "Windows Server 2008 R2"),
    (9200, "Windows 8", "Windows Server 2012"),
    (9600, "Windows 8.1", "Windows Server 2012 R2"),
    (10240, "Windows 10 1507", "Windows Server 2016 preview"),
    (10586, "Windows 10 1511", "Windows Server 2016 preview"),
    (14393, "Windows 10 1607", "Windows Server 2016"),
    (15063, "Windows 10 1703", "Windows Server"),
    (16299, "Windows 10 1709", "Windows Server 1709"),
    (17134, "Windows 10 1803", "Windows Server 1803"),
    (17763, "Windows 10 1809", "Windows Server 2019"),
    (18362, "Windows 10 1903", "Windows Server 1903"),
    (18363, "Windows 10 1909", "Windows Server 1909"),
    (19041, "Windows 10 2004", "Windows Server 2004"),
    (19042, "Windows 10 20H2", "Windows Server 20H2"),
    (19043, "Windows 10 21H1", "Windows Server"),
    (19044, "Windows 10 21H2", "Windows Server"),
    (19045, "Windows 10 22H2", "Windows Server"),
    (20348, "Windows 10", "Windows Server 2022"),
    (22000, "Windows 11 21H2", "Windows Server"),
    (22621, "Windows 11 22H2", "Windows Server"),
    (22631, "Windows 11 23H2", "Windows Server"),
    (25398, "Windows 11", "Windows Server 23H2"),
    (26100, "Windows 11 24H2", "Windows Server 2025"),
    (26200, "Windows 11 25H2", "Windows Server"),
];

/// Bits of `SuiteMask` that name an edition: `VER_SUITE_...` of the Windows SDK.
const SUITES: [(u32, &str); 5] = [
    (0x2, "Enterprise"),
    (0x80, "Datacenter"),
    (0x200, "Home"),
    (0x400, "Web"),
    (0x40, "Embedded"),
];

/// Marketing name, as far as the build and the shared data tell: "Windows 10
/// 22H2". `None` without a known build. A build between two known ones has the
/// older name with a question mark.
pub(super) fn marketing_name(windows: &WindowsFacts) -> Option<String> {
    let build = windows.build.as_ref()?.value;
    let (from, client, server) = NAMES.iter().rev().find(|(from, _, _)| *from <= build)?;
    let shared = windows.shared.as_ref();
    let is_server = shared.is_some_and(|shared| shared.product > 1);
    // Of 32 bits this build was a server's only.
    let is_unknown = *from == 3790 && !windows.is_64_bit && !is_server;
    let name = if is_server { server } else { client };
    // Service packs and their like count on from the first build.
    let is_exact = *from == build || build < 10_000 && build.saturating_sub(*from) < 10;
    (!is_unknown).then(|| format!("{name}{}", if is_exact { "" } else { "?" }))
}

/// "domain controller, Enterprise": what kind of product it is.
pub(super) fn edition(windows: &WindowsFacts) -> Option<String> {
    let shared = windows.shared.as_ref()?;
    let product = match shared.product {
        1 => "workstation",
        2 => "domain controller",
        3 => "server",
        _ => return None,
    };
    let suites = SUITES.iter().filter(|(bit, _)| shared.suite & bit != 0);
    let words = [product].into_iter().chain(suites.map(|(_, name)| *name));
    Some(words.collect::<Vec<_>>().join(", "))
}

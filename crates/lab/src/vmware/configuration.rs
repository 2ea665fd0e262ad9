//! The configuration files that lie beside a machine's checkpoints.

use super::machine::Machine;

/// A `.vmx` that names the suspended state `<stem>.<extension>`.
pub(super) fn vmx(machine: &Machine, stem: &str, extension: &str) -> String {
    let lines = [
        (".encoding", "UTF-8".to_owned()),
        ("config.version", "8".to_owned()),
        ("virtualHW.version", "21".to_owned()),
        ("displayName", "a guest (1)".to_owned()),
        ("guestOS", "debian12-64".to_owned()),
        ("firmware", "efi".to_owned()),
        ("memsize", machine.len_bytes().div_ceil(1 << 20).to_string()),
        ("numvcpus", machine.cpus.len().to_string()),
        ("uuid.bios", "56 4d eb d5 e8 72 83 5f-07 36 3b 58 1e a6 25 c9".to_owned()),
        ("checkpoint.vmState", format!("{stem}.{extension}")),
    ];
    lines.map(|(key, value)| format!("{key} = \"{value}\"\n")).concat()
}

/// A `.vmsd` that lists one snapshot.
pub(super) fn vmsd(stem: &str, extension: &str) -> String {
    [
        (".encoding", "UTF-8"),
        ("snapshot.lastUID", "1"),
        ("snapshot.current", "1"),
        ("snapshot0.uid", "1"),
        ("snapshot0.filename", &format!("{stem}.{extension}")),
        ("snapshot0.displayName", "before the crash"),
        ("snapshot0.type", "1"),
        ("snapshot0.createTimeHigh", "336295"),
        ("snapshot0.createTimeLow", "1080846290"),
        ("snapshot0.numDisks", "1"),
        ("snapshot0.disk0.fileName", "guest.vmdk"),
        ("snapshot0.disk0.node", "scsi0:0"),
        ("snapshot.numSnapshots", "1"),
    ]
    .map(|(key, value)| format!("{key} = \"{value}\"\n"))
    .concat()
}

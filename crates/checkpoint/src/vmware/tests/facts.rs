//! Facts about the machine in a file, and what else can be got out of it.

use vmss2core_machine::Arch;

use super::*;

const CONFIGURATION: &str = "\
.encoding = \"UTF-8\"
displayName = \"web |22one|22 =1\"
guestOS = \"ubuntu-64\"
uuid.bios = \"56 4d de b5\"
firmware = \"efi\"
memsize = \"2048\"
empty = \"\"
";

fn padded(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.resize(256, 0);
    bytes
}

fn described() -> State {
    State::new()
        .group(
            "Checkpoint",
            vec![
                Tag::u32("fileversion", &[], 10),
                Tag::block("ProductName", &[], &padded("VMware ESX")),
                Tag::block("VersionNumber", &[], &padded("4.1.0")),
                Tag::block("BuildNumber", &[], &padded("260247")),
                Tag::u32("Platform", &[], 1),
                Tag::u32("memSize", &[], 16),
            ],
        )
        .group("cpu", vec![Tag::u32("cpu:numVCPUs", &[], 1)])
        .group("memory", vec![Tag::u32("regionsCount", &[], 0)])
        .group("Snapshot", vec![Tag::block("cfgFile", &[], CONFIGURATION.as_bytes())])
        .group(
            "stats",
            vec![
                Tag::u32("vm.powerOnTimeStamp.clientData", &[], 1_277_424_000),
                Tag::u64("vm.suspendTime.clientData", &[], 0),
            ],
        )
}

#[test]
fn the_machine_is_described() {
    let opened = opened(&described(), Some(vec![0; 16 << 20]));
    let machine = &opened.checkpoint.about.machine;
    assert_eq!(machine.product.as_deref(), Some("VMware ESX"));
    assert_eq!(machine.product_version.as_deref(), Some("4.1.0"));
    assert_eq!(machine.product_build.as_deref(), Some("260247"));
    assert_eq!(machine.memory_mib, Some(16));
    assert_eq!(machine.display_name.as_deref(), Some("web \"one\" =1"));
    assert_eq!(machine.configured_guest.as_deref(), Some("ubuntu-64"));
    assert_eq!(machine.uuid.as_deref(), Some("56 4d de b5"));
    assert_eq!(machine.firmware.as_deref(), Some("efi"));
    assert_eq!(machine.powered_on_unix, Some(1_277_424_000));
    assert_eq!(machine.suspended_unix, None);
    assert_eq!(machine.architecture.map(Arch::name), Some("x86"));
    let provenance = &opened.checkpoint.about.provenance;
    assert_eq!(
        provenance.kind,
        "VMware suspended state, 64-bit layout (version 8), memory in a separate file"
    );
    let files: Vec<_> = provenance.files.iter().map(|f| (f.role, f.path.clone())).collect();
    assert_eq!(files, [("state", "x.vmss".into()), ("memory", "x.vmem".into())]);
    assert!(opened.checkpoint.about.problems.is_empty(), "{:?}", opened.checkpoint.about.problems);
}

#[test]
fn the_configuration_fills_in_for_a_missing_size() {
    let mut state = described();
    state.groups.remove(0);
    let file = open_state(state.bytes()).unwrap();
    assert_eq!(file.vmx_text().as_deref(), Some(CONFIGURATION.trim()));
    assert_eq!(crate::vmware::facts::machine(&file.inventory).memory_mib, Some(2048));
}

#[test]
fn escapes_in_a_configuration_are_resolved_only_if_whole() {
    let vmx =
        Vmx::parse("A = \"|22|7C|\"\nb=bare value \n#c = \"x\"\nd\n = \"y\"\ne = \"|zz|2\"\n");
    assert_eq!(vmx.get("a"), Some("\"||"));
    assert_eq!(vmx.get("b"), Some("bare value"));
    assert_eq!((vmx.get("#c"), vmx.get("d"), vmx.get("")), (None, None, None));
    assert_eq!(vmx.get("e"), Some("|zz|2"));
}

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n....\0\0\0\0IEND\xae\x42\x60\x82";

#[test]
fn screenshots_are_found_under_any_name_and_trimmed() {
    let padded = [PNG, &[0; 100]].concat();
    let endless = b"\x89PNG\r\n\x1a\n and so on".repeat(4);
    let state = State::new().group(
        "MKSVMX",
        vec![
            Tag::block("imageData", &[], &padded),
            Tag::u32("checkpoint.mks.numScreenshots", &[], 1),
            Tag::packed("checkpoint.mks.screenshot", &[1], &padded, padded.len() as u64),
            Tag::block("other", &[], &[0; 100]),
            Tag::block("endless", &[], &endless),
        ],
    );
    let file = open_state(state.bytes()).unwrap();
    let pictures = file.inventory.pictures();
    let names: Vec<String> = pictures.iter().map(ToString::to_string).collect();
    let expected = ["MKSVMX/imageData", "MKSVMX/checkpoint.mks.screenshot[1]", "MKSVMX/endless"];
    assert_eq!(names, expected);
    assert_eq!(file.inventory.picture(pictures[0]).unwrap().as_deref(), Some(PNG));
    assert_eq!(file.inventory.picture(pictures[1]).unwrap().as_deref(), Some(PNG));
    assert_eq!(file.inventory.picture(pictures[2]).unwrap(), None);
}

#[test]
fn a_picture_whose_size_lies_is_no_picture() {
    let state = State::new().group("MKSVMX", vec![Tag::block("imageData", &[], PNG)]);
    let mut bytes = state.bytes();
    let size = 12 + 80 + 2 + 9;
    bytes[size..size + 8].copy_from_slice(&(60_u64 << 20).to_le_bytes());
    let file = open_state(bytes).unwrap();
    let item = file.inventory.named("MKSVMX/imageData").unwrap();
    assert!(file.inventory.picture(item).is_err());
}

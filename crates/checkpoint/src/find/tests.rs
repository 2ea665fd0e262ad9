use tempfile::TempDir;
use vmss2core_mem::{Gpa, Severity};

use super::*;
use crate::testing::{gzip, put, source, tar, vmware_disk_snapshot, vmware_state};

const PAGES: u32 = 256;
const MIB: usize = 1 << 20;

fn memory(mark: u8) -> Vec<u8> {
    vec![mark; MIB]
}

/// A state file whose memory, 1 MiB, is elsewhere.
fn split_state() -> Vec<u8> {
    vmware_state(PAGES, &[])
}

fn open_paths(spill: &TempDir, inputs: &[PathBuf]) -> Result<Opened, OpenError> {
    let spill_dir = Some(spill.path().to_owned());
    open(inputs, &OpenOptions { spill_dir, ..OpenOptions::default() })
}

fn open_one(dir: &TempDir, name: &str) -> Result<Opened, OpenError> {
    let spill = tempfile::tempdir().unwrap();
    open_paths(&spill, &[dir.path().join(name)])
}

/// The byte that the guest's memory is full of, and how the memory was found.
fn mark(opened: &Opened) -> (u8, &str) {
    let mut byte = [0];
    opened.checkpoint.memory.read(Gpa(0x1234), &mut byte).unwrap();
    assert_eq!(opened.checkpoint.memory.len_bytes(), MIB as u64);
    let file = opened.checkpoint.about.provenance.files.last().unwrap();
    (byte[0], &file.found)
}

fn dir_with(files: &[(&str, &[u8])]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        put(dir.path(), name, bytes);
    }
    dir
}

#[test]
fn each_of_two_files_leads_to_the_other_by_name_in_any_case_and_packed() {
    let (state, image) = (split_state(), memory(7));
    for [lead, other] in [
        ["vm-1.vmss", "vm-1.vmem"],
        ["VM.VMSN", "vm.VMEM"],
        ["vm.vmss.gz", "vm.vmem"],
        ["vm.vmss", "vm.vmem.gz"],
        ["a b (1).vmss", "a b (1).vmem.GZ"],
    ] {
        let packed = |name: &str, bytes: &[u8]| {
            if name.to_lowercase().ends_with("gz") { gzip(bytes) } else { bytes.to_vec() }
        };
        let files = [(lead, &packed(lead, &state)[..]), (other, &packed(other, &image)[..])];
        let dir = dir_with(&[files[0], files[1], ("vm.log", b"x")]);
        for input in [lead, other, ""] {
            let opened = open_one(&dir, input).unwrap_or_else(|e| panic!("{input}: {e}"));
            assert_eq!(mark(&opened).0, 7, "{input}");
            assert_eq!(opened.checkpoint.vcpus.len(), 1);
        }
    }
}

#[test]
fn two_given_files_may_have_any_name_and_order_and_need_no_directory_entry() {
    let dir = dir_with(&[("x/state", &split_state()), ("y/image", &memory(3))]);
    let (state, image) = (dir.path().join("x/state"), dir.path().join("y/image"));
    for inputs in [[state.clone(), image.clone()], [image, state]] {
        assert_eq!(mark(&open_paths(&dir, &inputs).unwrap()), (3, "given"));
    }
}

#[test]
fn a_given_memory_file_wins_over_the_one_of_the_same_name() {
    let dir = dir_with(&[("a.vmss", &split_state()), ("a.vmem", &memory(1)), ("b", &memory(2))]);
    let inputs = [dir.path().join("a.vmss"), dir.path().join("b")];
    assert_eq!(mark(&open_paths(&dir, &inputs).unwrap()), (2, "given"));
}

#[test]
fn a_memory_file_of_another_size_is_used_and_reported() {
    let dir = dir_with(&[("a.vmss", &split_state()), ("a.vmem", &vec![5; MIB / 2])]);
    let checkpoint = open_one(&dir, "a.vmss").unwrap().checkpoint;
    assert_eq!(checkpoint.memory.len_bytes(), MIB as u64 / 2);
    assert!(checkpoint.about.problems.iter().any(|p| p.severity == Severity::Incomplete));
}

#[test]
fn memory_inside_wins_over_memory_beside_with_a_warning() {
    let state = vmware_state(PAGES, &memory(9));
    let dir = dir_with(&[("a.vmss", &state), ("a.vmem", &memory(1))]);
    let inputs = [dir.path().join("a.vmss"), dir.path().join("a.vmem")];
    for inputs in [&inputs[..], &inputs[..1], &inputs[1..]] {
        let opened = open_paths(&dir, inputs).unwrap();
        assert_eq!(mark(&opened).0, 9);
        let text: String =
            opened.checkpoint.about.problems.iter().map(|p| p.message.as_str()).collect();
        assert!(text.contains("a.vmem is not"), "{text}");
    }
}

#[test]
fn the_message_about_missing_memory_says_what_was_looked_for_and_where() {
    let dir = dir_with(&[("a.vmss", &split_state())]);
    let text = open_one(&dir, "a.vmss").unwrap_err().to_string();
    for part in ["looked for a.vmem", ".vmsd", "of 1048576 bytes", dir.path().to_str().unwrap()] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_snapshot_without_memory_is_explained() {
    let dir = dir_with(&[("a.vmsn", &vmware_disk_snapshot())]);
    let error = open_one(&dir, "a.vmsn").unwrap_err();
    assert!(error.to_string().contains("without memory"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Failed);
}

#[test]
fn several_checkpoints_are_listed_as_commands() {
    let state = split_state();
    let dir = dir_with(&[
        ("a.vmss", &state),
        ("a.vmem", &memory(1)),
        ("b 2.vmsn", &state),
        ("b 2.vmem", &memory(2)),
        ("c.vmsn", &vmware_disk_snapshot()),
    ]);
    let error = open_one(&dir, "").unwrap_err();
    let OpenError::Ambiguous { choices, .. } = &error else { panic!("{error}") };
    assert_eq!(
        *choices,
        ["a.vmss", "b 2.vmsn"].map(|name| crate::Candidate::from(dir.path().join(name)))
    );
    assert!(error.to_string().contains("b 2.vmsn'"), "{error}");
}

#[test]
fn the_one_checkpoint_with_memory_is_taken_and_the_others_noted() {
    let dir = dir_with(&[
        ("sub/a.vmss", &split_state()),
        ("sub/a.vmem", &memory(1)),
        ("sub/c.vmsn", &vmware_disk_snapshot()),
    ]);
    let opened = open_one(&dir, "").unwrap();
    assert_eq!(mark(&opened).0, 1);
    assert!(opened.checkpoint.about.problems.iter().any(|p| p.message.contains("c.vmsn")));
}

#[test]
fn a_configuration_leads_to_the_checkpoint_that_it_names() {
    let state = split_state();
    let vmx = b"config.version = \"8\"\ncheckpoint.vmState = \"/old/place/b.vmss\"\n";
    let dir = dir_with(&[
        ("a.vmsn", &state),
        ("a.vmem", &memory(1)),
        ("b.vmss", &state),
        ("b.vmem", &memory(2)),
        ("m.vmx", vmx),
    ]);
    assert_eq!(mark(&open_one(&dir, "m.vmx").unwrap()).0, 2);
    let inputs = [dir.path().join("m.vmx"), dir.path().join("a.vmsn")];
    assert_eq!(mark(&open_paths(&dir, &inputs).unwrap()).0, 1);
}

#[test]
fn a_bundle_of_pieces_is_joined_and_unpacked_from_any_side() {
    let inner = gzip(&tar(&[("./vm/x.vmss", &split_state()), ("vm/x.vmem", &memory(4))]));
    let name = "vmfs/volumes/1 (2)/vm/debug.txt";
    let dir = tempfile::tempdir().unwrap();
    let mut members = Vec::new();
    for (i, piece) in inner.chunks(inner.len() / 11).enumerate() {
        let name = format!("{name}.FRAG-{i:05}");
        put(dir.path(), &format!("b/{name}"), piece);
        members.push((format!("esx/{name}"), piece));
    }
    put(dir.path(), "b/reconstruct.sh", b"#!/bin/sh\n");
    let members: Vec<(&str, &[u8])> = members.iter().map(|(n, b)| (n.as_str(), *b)).collect();
    put(dir.path(), "packed.tgz", &gzip(&tar(&members)));
    put(dir.path(), "packed.tar", &tar(&members));
    for input in [
        "b",
        &format!("b/{name}.FRAG-00000"),
        &format!("b/{name}.FRAG-00003"),
        "packed.tgz",
        "packed.tar",
    ] {
        let opened = open_one(&dir, input).unwrap_or_else(|error| panic!("{input}: {error}"));
        assert_eq!(mark(&opened).0, 4, "{input}");
    }
    std::fs::remove_file(dir.path().join(format!("b/{name}.FRAG-00005"))).unwrap();
    for input in ["b", &format!("b/{name}.FRAG-00000")] {
        let error = open_one(&dir, input).unwrap_err();
        assert!(error.to_string().contains("FRAG-00005 of 0 to"), "{error}");
    }
}

#[test]
fn archives_within_archives_end() {
    let mut bytes = tar(&[("x.vmss", &split_state()), ("x.vmem", &memory(4))]);
    for _ in 0..3 {
        bytes = tar(&[("inner.tar", &bytes)]);
    }
    let dir = dir_with(&[("ok.tar", &bytes), ("deep.tar", &tar(&[("inner.tar", &bytes)]))]);
    assert_eq!(mark(&open_one(&dir, "ok.tar").unwrap()).0, 4);
    let error = open_one(&dir, "deep.tar").unwrap_err();
    assert!(matches!(error, OpenError::NothingInside { .. }), "{error}");
}

#[test]
fn encrypted_files_ask_for_decryption_wherever_they_turn_up() {
    let mut sealed = vec![0x9e, 0xdd, 0x43, 0x89];
    sealed.resize(2 * MIB, 1);
    let dir = dir_with(&[
        ("all/a.vmss", &sealed),
        ("all/a.vmem", &sealed),
        ("half/a.vmss", &split_state()),
        ("half/a.vmem", &sealed),
    ]);
    for input in ["all/a.vmss", "all/a.vmem", "all", "half/a.vmss", "half"] {
        let error = open_one(&dir, input).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NeedsKey, "{input}: {error}");
        assert!(error.to_string().contains("crypto-util encobj decrypt"), "{error}");
    }
}

/// The configuration knows which file is missing, and that it is encrypted.
#[test]
fn a_configuration_without_its_checkpoint_names_what_is_missing() {
    const VMX: &str = "virtualHW.version = \"20\"\ncheckpoint.vmState = \"w-1f.vmss\"\n";
    let partial = format!("{VMX}vmx.encryptionType = \"partial\"\n");
    let sealed = "displayName = \"w\"\nencryption.keySafe = \"x\"\nencryption.data = \"y\"\n";
    let dir = dir_with(&[
        ("plain/w.vmx", VMX.as_bytes()),
        ("partial/w.vmx", partial.as_bytes()),
        ("partial/w.nvram", b"x"),
        ("sealed/w.vmx", sealed.as_bytes()),
        ("there/w.vmx", VMX.as_bytes()),
        ("there/w-1f.vmss", b""),
    ]);
    for input in ["partial", "partial/w.vmx"] {
        let error = open_one(&dir, input).unwrap_err();
        assert!(matches!(error, OpenError::NamedFileMissing { .. }), "{input}: {error}");
        let text = error.to_string();
        for word in ["w.vmx", "w-1f.vmss", "vmx.encryptionType = \"partial\"", "decrypt"] {
            assert!(text.contains(word), "{word}: {text}");
        }
    }
    let text = open_one(&dir, "plain/w.vmx").unwrap_err().to_string();
    assert!(text.contains("w-1f.vmss") && !text.contains("encrypt"), "{text}");
    let text = open_one(&dir, "sealed").unwrap_err().to_string();
    assert!(text.contains("encryption.data") && text.contains("no checkpoint"), "{text}");
    // What lies there is not said to be missing.
    let error = open_one(&dir, "there").unwrap_err();
    assert!(matches!(error, OpenError::NothingInside { .. }), "{error}");
}

#[test]
fn an_empty_memory_file_is_named_and_the_state_is_read() {
    let dir = dir_with(&[("a.vmss", &split_state()), ("a.vmem", b"")]);
    let error = open_one(&dir, "a.vmss").unwrap_err().to_string();
    assert!(error.contains("a.vmem: this memory file is empty, it should have"), "{error}");
    let options = OpenOptions { without_memory: true, ..OpenOptions::default() };
    let opened = open(&[dir.path().join("a.vmss")], &options).unwrap();
    assert_eq!(opened.checkpoint.memory.len_bytes(), 0);
    let messages: Vec<&str> =
        opened.checkpoint.about.problems.iter().map(|problem| problem.message.as_str()).collect();
    assert!(messages.iter().any(|m| m.contains("a.vmem") && m.contains("empty")), "{messages:?}");
    assert!(!messages.iter().any(|m| m.contains("short of")), "{messages:?}");
}

#[test]
fn what_is_no_checkpoint_is_said_to_be_none() {
    let mut core = b"\x7fELF\x02\x01\x01".to_vec();
    core.resize(16, 0);
    core.extend([4, 0]);
    core.resize(9000, 0);
    let dir = dir_with(&[("core", &core), ("text", b"hello"), ("empty", b""), ("d/x.log", b"1")]);
    for (input, part) in
        [("core", "ELF core"), ("text", "signature"), ("empty", "empty"), ("d", "1 files")]
    {
        let error = open_one(&dir, input).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotACheckpoint, "{input}: {error}");
        assert!(error.to_string().contains(part), "{error}");
    }
    assert!(matches!(open_one(&dir, "gone"), Err(OpenError::Open { .. })));
    assert!(matches!(open(&[], &OpenOptions::default()), Err(OpenError::NoInput)));
}

#[test]
fn too_many_files_and_two_checkpoints_are_refused() {
    let dir = dir_with(&[
        ("a", &split_state()),
        ("b", &split_state()),
        ("c", &memory(1)),
        ("d", &memory(1)),
    ]);
    let path = |name: &str| dir.path().join(name);
    let error = open_paths(&dir, &[path("a"), path("b")]).unwrap_err();
    assert!(matches!(error, OpenError::TwoCheckpoints { .. }), "{error}");
    let error = open_paths(&dir, &[path("a"), path("c"), path("d")]).unwrap_err();
    assert!(matches!(error, OpenError::TooManyInputs { .. }), "{error}");
}

#[test]
fn compressed_memory_without_a_place_to_unpack_it_is_refused_with_advice() {
    let dir = dir_with(&[("a.vmss", &split_state()), ("a.vmem.gz", &gzip(&memory(1)))]);
    let error = open(&[dir.path().join("a.vmss")], &OpenOptions::default()).unwrap_err();
    assert!(matches!(error, OpenError::NoSpillDirectory { .. }), "{error}");
}

#[cfg(unix)]
#[test]
fn a_socket_or_device_is_not_opened() {
    let error = open(&["/dev/zero".into()], &OpenOptions::default()).unwrap_err();
    assert!(matches!(error, OpenError::NotAFile { .. }), "{error}");
}

#[test]
fn an_unpacked_source_keeps_the_name_of_its_file() {
    let (_dir, options) = crate::testing::spilling();
    let packed = source("x.vmem.gz", gzip(&memory(1)));
    let Content::File(item) =
        (Unpacker { options: &options, ledger: &Ledger::default() }).unpack(packed).unwrap()
    else {
        panic!("an archive");
    };
    assert_eq!(item.source.path, Path::new("x.vmem.gz"));
    assert_eq!(item.source.len, MIB as u64);
}

//! What debuggers are told of a guest's system.

use std::sync::Arc;

use vmss2core_machine::arm64::Arm64;
use vmss2core_machine::paging::Paging;
use vmss2core_machine::x86::modes::FOUR_LEVEL;
use vmss2core_machine::{About, VcpuView};
use vmss2core_mem::{Found, PhysicalMemory};

use super::*;
use crate::kernel::{KernelInferior, KernelTarget, Vcpus};
use vmss2core_gdb::fuzzing::Toy;
use vmss2core_gdb::{Outcome, Session};

fn reply(session: &mut Session, packet: &str) -> Vec<u8> {
    match session.handle(packet.as_bytes()) {
        Outcome::Reply(reply) => reply.payload().to_vec(),
        Outcome::Running(_) => panic!("{packet} runs"),
    }
}

/// lldb looks for the kernel of macOS by itself if it is told of no system.
#[test]
fn of_a_guest_that_is_not_known_no_system_is_told_and_no_slide() {
    let checkpoint = Checkpoint::default();
    let paging = Paging {
        mode: Found::new(FOUR_LEVEL, "CR4"),
        root: FOUR_LEVEL.root_of(0),
        no_execute: Some(true),
    };
    let vcpu = VcpuView { paging: Some(paging), ..VcpuView::default() };
    let facts = Facts { vcpus: [vcpu].into(), ..Facts::default() };
    let vcpus =
        KernelInferior::new(KernelView::new(&checkpoint, &facts, None), Vcpus::of(&checkpoint));
    let target = KernelTarget::new(&checkpoint.memory, Arc::new(vcpus));
    let toy = Arc::new(Toy::default());
    let mut session = Session::new(Arc::new(target), toy);
    let mut ask = |packet: &str| reply(&mut session, packet);
    ask("QThreadSuffixSupported");
    assert_eq!(ask("qHostInfo"), b"ptrsize:8;endian:little;");
    assert_eq!(ask("qProcessInfo"), b"pid:1;ptrsize:8;endian:little;");
    assert_eq!(ask("qOffsets"), b"");
    assert_eq!(ask("qXfer:libraries:read::0,1000"), b"E00");
}

/// What makes lldb's plugin for that kernel take it where it is.
#[test]
fn of_macos_the_kernels_place_is_told_and_no_slide() {
    use vmss2core_guest::linux::GivenFiles;
    use vmss2core_guest::macos::{KernelImage, Kext, KextList, MacosFacts, Uuid};
    use vmss2core_mem::Gpa;

    let image = KernelImage {
        base: Gva(0xffff_ff80_0160_0000),
        gpa: Gpa(0x160_0000),
        collection: None,
        uuid: Some(Uuid([0xab; 16])),
        segments: Vec::new(),
    };
    let kext = |base| Kext {
        info: Gva(1),
        name: "org.example<".to_owned(),
        version: "1".to_owned(),
        base,
        size_bytes: 1,
        uuid: None,
    };
    let kexts = KextList { kexts: vec![kext(Some(Gva(0x1000))), kext(None)], torn: None };
    let macos = MacosFacts {
        is_64_bit: true,
        image: Some(Found::new(image, "made")),
        kexts: Some(Found::new(kexts, "made")),
        ..MacosFacts::default()
    };
    let facts = Facts::of(macos, "made");
    let checkpoint = Checkpoint::default();
    let boot = facts.boot.as_ref().unwrap().value.clone();
    let now = boot.now(&checkpoint, &facts, &GivenFiles::default()).unwrap();
    let vcpus = KernelInferior::new(
        KernelView::new(&checkpoint, &facts, Some(now)),
        Vcpus::of(&checkpoint),
    );
    let target = KernelTarget::new(&checkpoint.memory, Arc::new(vcpus));
    let toy = Arc::new(Toy::default());
    let mut session = Session::new(Arc::new(target), toy);
    let mut ask = |packet: &str| reply(&mut session, packet);
    let kind = "triple:7838365f36342d6170706c652d6d61636f7378;vendor:apple;ostype:macosx;\
                ptrsize:8;endian:little;";
    assert_eq!(ask("qHostInfo"), kind.as_bytes());
    let process = format!(
        "pid:1;{kind}main-binary-uuid:ABABABAB-ABAB-ABAB-ABAB-ABABABABABAB;\
         main-binary-address:ffffff8001600000;"
    );
    assert_eq!(ask("qProcessInfo"), process.as_bytes());
    assert_eq!(ask("qShlibInfoAddr"), b"ffffff8001600000");
    assert_eq!(ask("qOffsets"), b"");
    let listed = "l<library-list>\n<library name=\"org.example&lt;\">\n\
                  <segment address=\"0x1000\"/>\n</library>\n</library-list>\n";
    assert_eq!(ask("qXfer:libraries:read::0,1000"), listed.as_bytes());
}

/// Whatever else is not known of it: it has no other code.
#[test]
fn of_an_arm_machine_addresses_have_64_bits() {
    let vcpu = Vcpu { index: 0, halted: None, registers: Arm64.registers_at(0x8000_0000) };
    let checkpoint = Checkpoint::new(PhysicalMemory::new(), vec![vcpu], About::default());
    let view = KernelView::new(&checkpoint, &Facts::default(), None);
    let vcpus = KernelInferior::new(view, Vcpus::of(&checkpoint));
    let target = KernelTarget::new(&checkpoint.memory, Arc::new(vcpus));
    let mut session = Session::new(Arc::new(target), Arc::new(Toy::default()));
    reply(&mut session, "QThreadSuffixSupported");
    assert_eq!(reply(&mut session, "qHostInfo"), b"ptrsize:8;endian:little;");
}

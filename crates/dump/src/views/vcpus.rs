//! The vCPUs of a guest, as every format counts and lists them.

use vmss2core_guest::Facts;
use vmss2core_machine::paging::PagingMode;
use vmss2core_machine::{Checkpoint, Vcpu, VcpuView};
use vmss2core_mem::Problem;

use crate::Job;
use crate::x86::{efer, in_long_mode};

/// Whether the guest's kernel has 64 bits: what it is, not what happens to run.
/// A 64-bit kernel may be running a 32-bit program.
pub(crate) fn is_64_bit_guest(job: &Job<'_>) -> bool {
    is_arm64(job.checkpoint) || runs_64_bit(job.checkpoint) || is_64_bit(job.checkpoint, job.facts)
}

/// Whether the machine's processors are Arm's.
pub(crate) fn is_arm64(checkpoint: &Checkpoint) -> bool {
    checkpoint.about.machine.architecture.is_some_and(|arch| arch.name() == "arm64")
}

/// Whether the registers alone tell that this is a 64-bit guest.
pub(crate) fn runs_64_bit(checkpoint: &Checkpoint) -> bool {
    let mode = |vcpu: &Vcpu| vcpu.registers.paging(&checkpoint.memory).ok();
    let mut modes = checkpoint.vcpus.iter().filter_map(mode);
    modes.any(|paging| paging.mode.value.is_64_bit())
}

fn is_64_bit(checkpoint: &Checkpoint, facts: &Facts) -> bool {
    let modes: Vec<bool> =
        facts.vcpus.iter().filter_map(VcpuView::mode).map(PagingMode::is_64_bit).collect();
    let by_processor = checkpoint.vcpus.iter().any(in_long_mode) || modes.contains(&true);
    match facts.linux() {
        _ if by_processor => true,
        Some(linux) => linux.is_64_bit,
        // Without any evidence the wider form is the safer one.
        None => modes.is_empty() && checkpoint.vcpus.iter().all(|vcpu| efer(vcpu).is_none()),
    }
}

/// The vCPUs as the kernel numbers them, or as the checkpoint does if that is
/// not known of every one.
pub(crate) fn in_cpu_order<'a>(job: &Job<'a>) -> Vec<&'a Vcpu> {
    let vcpus: Vec<&Vcpu> = job.checkpoint.vcpus.iter().collect();
    let number = |vcpu: &&Vcpu| job.facts.vcpu(vcpu.index)?.number;
    let known: Option<Vec<u32>> = vcpus.iter().map(number).collect();
    let Some(numbers) = known else { return vcpus };
    let mut numbered: Vec<(u32, &Vcpu)> = numbers.into_iter().zip(vcpus).collect();
    numbered.sort_by_key(|(cpu, _)| *cpu);
    numbered.into_iter().map(|(_, vcpu)| vcpu).collect()
}

/// Thread id of a vCPU: unique, and never 0, which gdb takes for "no thread".
pub(crate) fn thread_id(index: u32) -> u32 {
    index.saturating_add(1)
}

/// Says which vCPUs are not listed, or listed with zeroes.
pub(crate) fn missing_registers<'a>(
    vcpus: impl Iterator<Item = &'a Vcpu>,
    consequence: &str,
) -> Option<Problem> {
    let missing: Vec<String> =
        vcpus.filter(|vcpu| !has_registers(vcpu)).map(|vcpu| vcpu.index.to_string()).collect();
    (!missing.is_empty()).then(|| {
        let list = missing.join(", ");
        Problem::incomplete(format!(
            "no registers in the checkpoint for vCPU {list}: {consequence}"
        ))
    })
}

/// A register state that says something: the program counter at least.
pub(crate) fn has_registers(vcpu: &Vcpu) -> bool {
    vcpu.x86().is_some_and(|x86| x86.rip.is_some())
}

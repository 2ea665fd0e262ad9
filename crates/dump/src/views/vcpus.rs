//! The vCPUs of a guest, as every format counts and lists them.

use vmss2core_guest::Facts;
use vmss2core_machine::arch::ASSUMED;
use vmss2core_machine::paging::PagingMode;
use vmss2core_machine::{Arch, Checkpoint, Vcpu, VcpuView, Width};
use vmss2core_mem::Problem;

use crate::Job;

/// Whether the guest's kernel has 64 bits: what it is, not what happens to run.
/// A 64-bit kernel may be running a 32-bit program.
pub(crate) fn is_64_bit_guest(job: &Job<'_>) -> bool {
    let checkpoint = job.checkpoint;
    match architecture(checkpoint).only_width() {
        Some(width) => width == Width::Bits64,
        None => runs_64_bit(checkpoint) || is_64_bit(checkpoint, job.facts),
    }
}

/// Architecture of the machine's processors.
pub(crate) fn architecture(checkpoint: &Checkpoint) -> &'static dyn Arch {
    let vcpu = checkpoint.vcpus.first().map(|vcpu| vcpu.registers.arch());
    checkpoint.about.machine.architecture.or(vcpu).unwrap_or(ASSUMED)
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
    let by_processor = checkpoint.vcpus.iter().any(runs_64_bit_code) || modes.contains(&true);
    match facts.linux() {
        _ if by_processor => true,
        Some(linux) => linux.is_64_bit,
        // Without any evidence the wider form is the safer one.
        None => {
            modes.is_empty() && checkpoint.vcpus.iter().all(|vcpu| vcpu.registers.width().is_none())
        }
    }
}

/// Whether the mode that the processor is in is one of 64-bit code.
pub(crate) fn runs_64_bit_code(vcpu: &Vcpu) -> bool {
    vcpu.registers.width() == Some(Width::Bits64)
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
    vcpu.registers.pc().is_some()
}

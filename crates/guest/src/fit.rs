//! Whether a checkpoint's registers and its memory are of one moment.
//!
//! A processor executes what its page tables map. Memory of another moment, another start or
//! another machine holds something else where those tables were; so if no vCPU's page tables
//! map its own instruction pointer, either part is of no use to the other.
//!
//! Silent are vCPUs without paging (never started, in firmware or in system management mode)
//! and those that execute what no checkpoint holds (a ROM). One that fits is enough: the others
//! may have run a guest of the guest.

use vmss2core_machine::{Checkpoint, Privilege, Registers, Vcpu};
use vmss2core_mem::{Gpa, Gva, MemoryError, PhysicalMemory, Problem};

use vmss2core_machine::paging::{AccessError, AddressSpace, Paging, PagingMode, Root, Translation};

/// Evidence of one vCPU.
enum Witness {
    Fits,
    Silent,
    /// Its page tables lead to this address, where there is no memory.
    Lost(Root, Gpa),
    /// Its page tables do not map what it executes.
    Foreign(Gva, Root),
}

/// Takes the registers out of a checkpoint if no vCPU's fit the memory, which is then analysed as
/// if it had come alone, and returns what is to be said of that. vCPUs without paging stay: what
/// they execute depends on nothing in memory.
pub fn leave_out_misfits(checkpoint: &mut Checkpoint) -> Option<Problem> {
    let problem = misfit(checkpoint)?;
    let memory = &checkpoint.memory;
    let is_without_paging = |vcpu: &&Vcpu| {
        let paging = vcpu.registers.paging(memory);
        paging.is_ok_and(|paging| paging.mode.value == PagingMode::IDENTITY)
    };
    checkpoint.vcpus = checkpoint.vcpus.iter().filter(is_without_paging).cloned().collect();
    Some(problem)
}

/// The problem if no vCPU's registers fit the memory.
fn misfit(checkpoint: &Checkpoint) -> Option<Problem> {
    let memory = &checkpoint.memory;
    let mut doubts = Vec::new();
    for vcpu in checkpoint.vcpus.iter() {
        match witness(memory, &vcpu.registers) {
            Witness::Fits => return None,
            Witness::Silent => {}
            doubt => doubts.push((vcpu.index, doubt)),
        }
    }
    let is_foreign = |(_, doubt): &&(u32, Witness)| matches!(doubt, Witness::Foreign(..));
    let (vcpu, doubt) = doubts.iter().find(is_foreign).or(doubts.first())?;
    Some(Problem::incomplete(explain(*vcpu, doubt, memory)?))
}

fn explain(vcpu: u32, doubt: &Witness, memory: &PhysicalMemory) -> Option<String> {
    const NO_MATCH: &str = "the registers do not fit the memory and are not used";
    const ADVICE: &str = "take both files of the same snapshot, copied while the machine does \
                          not run";
    match doubt {
        Witness::Foreign(rip, root) => Some(format!(
            "{NO_MATCH}: no vCPU's page tables map its own instruction pointer (vCPU {vcpu}: \
             {rip}, page tables at {root}), as when state and memory are of different moments; \
             {ADVICE}"
        )),
        Witness::Lost(root, table) => Some(format!(
            "{NO_MATCH}: the page tables of vCPU {vcpu} ({root}) lead to {table}, where there is \
             no memory; it ends at {}. The memory was cut off, or it is of another moment; \
             {ADVICE}",
            memory.end()
        )),
        Witness::Fits | Witness::Silent => None,
    }
}

fn witness(memory: &PhysicalMemory, vcpu: &Registers) -> Witness {
    let Ok(paging) = vcpu.paging(memory) else { return Witness::Silent };
    let mode = paging.mode.value;
    let Some(pc) = vcpu.linear_pc(Some(mode)) else { return Witness::Silent };
    if mode == PagingMode::IDENTITY || memory.segments().is_empty() {
        return Witness::Silent;
    }
    let space = paging.address_space(memory);
    let fetch = |pc| fetch(&space, &paging, vcpu, pc);
    match fetch(pc) {
        doubt @ (Witness::Lost(..) | Witness::Foreign(..)) => {
            // A halted processor's pointer may be after its last instruction.
            let before = fetch(Gva(pc.0.saturating_sub(1)));
            if matches!(before, Witness::Fits) { before } else { doubt }
        }
        sure => sure,
    }
}

/// Whether the vCPU can have fetched an instruction at `pc`.
fn fetch(space: &AddressSpace, paging: &Paging, vcpu: &Registers, pc: Gva) -> Witness {
    let root = space.root();
    match space.translate(pc) {
        Ok(found) if !may_execute(paging, vcpu, &found) => Witness::Foreign(pc, root),
        Ok(found) if space.memory().contains(found.gpa, 1) => Witness::Fits,
        Err(AccessError::NotMapped { .. } | AccessError::Reserved { .. }) => {
            Witness::Foreign(pc, root)
        }
        Err(AccessError::Table { source: MemoryError::NotPresent { gpa }, .. }) => {
            Witness::Lost(root, gpa)
        }
        Ok(_) | Err(_) => Witness::Silent,
    }
}

/// Whether what the tables allow lets the vCPU execute there, as far as its registers tell.
fn may_execute(paging: &Paging, vcpu: &Registers, found: &Translation) -> bool {
    let is_program = vcpu.privilege() == Some(Privilege::User);
    let may_be_executed = found.permissions.execute || paging.no_execute.is_none();
    may_be_executed && (found.permissions.user || !is_program)
}

#[cfg(test)]
mod tests;

//! Which paging mode a vCPU is in.
//!
//! CR0, CR4 and EFER decide, never the configured guest system. Some sources
//! lack EFER; then the mode is inferred and the result says so.

use vmss2core_mem::{Found, Gva, PhysicalMemory};

use super::Registers;
use super::modes::{FIVE_LEVEL, FOUR_LEVEL, PAE, TWO_LEVEL, TWO_LEVEL_PSE};
use crate::paging::{AddressSpace, Paging, PagingError, PagingMode};

const CR0_PG: u64 = 1 << 31;
const CR4_PSE: u64 = 1 << 4;
const CR4_PAE: u64 = 1 << 5;
const CR4_LA57: u64 = 1 << 12;
const CR4_PCIDE: u64 = 1 << 17;
const EFER_LMA: u64 = 1 << 10;
const EFER_NXE: u64 = 1 << 11;
/// CS.L, where [`super::SegmentRegister::attributes`] has it.
const ATTRIBUTE_LONG: u32 = 1 << 13;

/// How a vCPU translates addresses. `memory` is read only if registers are
/// missing, to see which mode makes the instruction pointer resolve.
pub fn paging_of(memory: &PhysicalMemory, vcpu: &Registers) -> Result<Paging, PagingError> {
    let control = &vcpu.control;
    let no_execute = vcpu.msrs.efer.map(|efer| efer & EFER_NXE != 0);
    if control.cr0.is_some_and(|cr0| cr0 & CR0_PG == 0) {
        let mode = Found::new(PagingMode::IDENTITY, "CR0.PG is clear");
        return Ok(Paging { mode, root: PagingMode::IDENTITY.root_of(0), no_execute });
    }
    let cr3 = control.cr3.ok_or(PagingError::Missing("CR3"))?;
    let mut mode = match (control.cr4, vcpu.msrs.efer) {
        (Some(cr4), _) if cr4 & CR4_PAE == 0 => {
            let has_large_pages = cr4 & CR4_PSE != 0;
            let mode = if has_large_pages { TWO_LEVEL_PSE } else { TWO_LEVEL };
            Found::new(mode, "CR4.PAE is clear")
        }
        (Some(cr4), Some(efer)) if efer & EFER_LMA != 0 => {
            Found::new(long_mode(cr4), "CR0, CR4 and EFER")
        }
        (Some(_), Some(_)) => Found::new(PAE, "CR0, CR4 and EFER"),
        (Some(cr4), None) => infer_with_pae(memory, vcpu, cr3, cr4),
        (None, _) => infer_blindly(memory, vcpu, cr3),
    };
    if control.cr0.is_none() {
        mode.how.push_str("; CR0 is missing, paging assumed");
    }
    Ok(Paging { root: mode.value.root_of(cr3), mode, no_execute })
}

fn long_mode(cr4: u64) -> PagingMode {
    if cr4 & CR4_LA57 == 0 { FOUR_LEVEL } else { FIVE_LEVEL }
}

/// EFER is missing and CR4.PAE set: PAE or 64-bit.
fn infer_with_pae(
    memory: &PhysicalMemory,
    vcpu: &Registers,
    cr3: u64,
    cr4: u64,
) -> Found<PagingMode> {
    let long = long_mode(cr4);
    if cr4 & (CR4_LA57 | CR4_PCIDE) != 0 {
        return Found::new(long, "CR4 has bits of 64-bit mode; EFER is missing");
    }
    if runs_64_bit_code(vcpu) {
        return Found::new(long, "the vCPU runs 64-bit code; EFER is missing");
    }
    if PAE.root_of(cr3).0.page_offset() != 0 {
        return Found::new(PAE, "CR3 is not page aligned; EFER is missing");
    }
    let mut found = first_that_resolves(memory, vcpu, cr3, &[long, PAE]);
    found.how.push_str("; EFER is missing");
    found
}

/// CR4 is missing: every mode is possible.
fn infer_blindly(memory: &PhysicalMemory, vcpu: &Registers, cr3: u64) -> Found<PagingMode> {
    let long = [FOUR_LEVEL, FIVE_LEVEL];
    let short = [PAE, TWO_LEVEL_PSE];
    let mut found = match vcpu.msrs.efer {
        _ if runs_64_bit_code(vcpu) => first_that_resolves(memory, vcpu, cr3, &long),
        Some(efer) if efer & EFER_LMA != 0 => first_that_resolves(memory, vcpu, cr3, &long),
        Some(_) => first_that_resolves(memory, vcpu, cr3, &short),
        None => first_that_resolves(memory, vcpu, cr3, &[long, short].concat()),
    };
    found.how.push_str("; CR4 is missing");
    found
}

/// 64-bit code proves 64-bit paging; 32-bit code proves nothing.
fn runs_64_bit_code(vcpu: &Registers) -> bool {
    let attributes = vcpu.segments.cs.attributes;
    attributes.is_some_and(|a| a & ATTRIBUTE_LONG != 0)
        || vcpu.rip.is_some_and(|rip| rip >> 32 != 0)
}

fn first_that_resolves(
    memory: &PhysicalMemory,
    vcpu: &Registers,
    cr3: u64,
    modes: &[PagingMode],
) -> Found<PagingMode> {
    let resolves = |mode: &&PagingMode| {
        let space = AddressSpace::new(memory, **mode, mode.root_of(cr3));
        linear_rip(vcpu, **mode).is_some_and(|rip| space.read(rip, &mut [0]).is_ok())
    };
    if let Some(mode) = modes.iter().find(resolves) {
        return Found::new(*mode, "the instruction pointer resolves in this mode");
    }
    let mode = modes.first().copied().unwrap_or(FOUR_LEVEL);
    Found::new(mode, "a guess: the instruction pointer resolves in no mode")
}

impl Registers {
    /// The instruction pointer as an address in a paging mode; without one, as wide as it
    /// is.
    pub(in crate::arch) fn linear_pc(&self, mode: Option<PagingMode>) -> Option<Gva> {
        let is_wide = self.rip.is_some_and(|rip| rip >> 32 != 0);
        let guess = if is_wide { FOUR_LEVEL } else { PagingMode::IDENTITY };
        linear_rip(self, mode.unwrap_or(guess))
    }
}

/// The instruction pointer as a linear address.
pub fn linear_rip(vcpu: &Registers, mode: PagingMode) -> Option<Gva> {
    let rip = vcpu.rip?;
    // 64-bit code ignores the base of CS; it is 0 in every system that matters.
    let base = if rip >> 32 == 0 { vcpu.segments.cs.base.unwrap_or(0) } else { 0 };
    let linear = rip.wrapping_add(base);
    Some(Gva(if mode.is_64_bit() { linear } else { linear & 0xffff_ffff }))
}

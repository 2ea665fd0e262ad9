//! Call frames of code of which nothing is known any more.
//!
//! Where the record of a function is lost, debuggers guess what called it, from any word
//! on the stack that looks like code. A record is put there that has no answer: the
//! return address is said to be where no memory is, so that a debugger stops and says
//! that it cannot read that.
//!
//! Source of the layout: DWARF 5, 6.4.1; Linux Standard Base, "`.eh_frame`".

use std::ops::Range;

use gimli::{
    BaseAddresses, CieOrFde, DW_CFA_def_cfa, DW_CFA_expression, DW_EH_PE_pcrel, DW_EH_PE_sdata4,
    DW_OP_const4u, DW_OP_const8u, EhFrame, LittleEndian, UnwindSection,
};

/// Form of the records of code of one kind of processor, whose numbers are DWARF's.
#[derive(Clone, Copy, Debug)]
pub(in crate::linux) struct FrameMachine {
    pub(in crate::linux) address_bytes: u8,
    pub(in crate::linux) return_address: u8,
    pub(in crate::linux) stack_pointer: u8,
    /// An address at which no process has memory.
    pub(in crate::linux) nowhere: u64,
}

impl FrameMachine {
    /// DWARF's expression of an address at which no process has memory.
    fn nowhere(self) -> Vec<u8> {
        let (operation, bytes) = if self.address_bytes == 8 {
            (DW_OP_const8u, self.nowhere.to_le_bytes().to_vec())
        } else {
            let nowhere = u32::try_from(self.nowhere).unwrap_or(u32::MAX);
            (DW_OP_const4u, nowhere.to_le_bytes().to_vec())
        };
        [vec![operation.0], bytes].concat()
    }

    fn address(self, address: u64) -> Option<Vec<u8>> {
        match self.address_bytes {
            8 => Some(address.to_le_bytes().to_vec()),
            _ => Some(u32::try_from(address).ok()?.to_le_bytes().to_vec()),
        }
    }

    /// Factors of code and data, the number of the return address.
    fn factors(self) -> [u8; 3] {
        let factor = if self.address_bytes == 8 { 0x78 } else { 0x7c };
        [1, factor, self.return_address]
    }

    /// Rules that say where the caller's registers are.
    fn instructions(self) -> Vec<u8> {
        let mut code = vec![DW_CFA_def_cfa.0, self.stack_pointer, self.address_bytes];
        let place = self.nowhere();
        let len = u8::try_from(place.len()).unwrap_or_default();
        code.extend([DW_CFA_expression.0, self.return_address, len]);
        code.extend(place);
        code
    }
}

/// The code that no record of `.eh_frame` describes, which has these bytes at an address.
pub(super) fn undescribed(
    code: &[Range<u64>],
    (address, bytes): (u64, &[u8]),
    machine: FrameMachine,
) -> Vec<Range<u64>> {
    let mut known = described(address, bytes, machine);
    known.sort_by_key(|range| range.start);
    let mut unknown = Vec::new();
    for code in code {
        let mut start = code.start;
        for range in known.iter().filter(|range| range.end > code.start && range.start < code.end) {
            unknown.extend((start < range.start).then_some(start..range.start));
            start = start.max(range.end);
        }
        unknown.extend((start < code.end).then_some(start..code.end));
    }
    unknown
}

fn described(address: u64, bytes: &[u8], machine: FrameMachine) -> Vec<Range<u64>> {
    let mut section = EhFrame::new(bytes, LittleEndian);
    section.set_address_size(machine.address_bytes);
    let bases = BaseAddresses::default().set_eh_frame(address);
    let (mut entries, mut known) = (section.entries(&bases), Vec::new());
    while let Ok(Some(entry)) = entries.next() {
        let CieOrFde::Fde(partial) = entry else { continue };
        let function = partial.parse(EhFrame::cie_from_offset);
        if let Ok(function) = function {
            let start = function.initial_address();
            known.push(start..start.saturating_add(function.len()));
        }
    }
    known
}

/// Records for `.eh_frame` that go to an address, as many as there is room for: of the
/// largest pieces of code first.
pub(super) fn eh_frame(
    unknown: &[Range<u64>],
    address: u64,
    room_bytes: usize,
    machine: FrameMachine,
) -> Option<Vec<u8>> {
    let mut common = vec![0, 0, 0, 0, 1, b'z', b'R', 0];
    common.extend(machine.factors());
    common.extend([1, DW_EH_PE_pcrel.0 | DW_EH_PE_sdata4.0]);
    common.extend(machine.instructions());
    let mut records = record(common);
    if records.len() > room_bytes {
        return None;
    }
    let mut largest: Vec<&Range<u64>> = unknown.iter().collect();
    largest.sort_by_key(|code| std::cmp::Reverse(code.end.saturating_sub(code.start)));
    for code in largest {
        // After its length it says how far back the common part is, then where it is.
        let id = records.len().checked_add(4)?;
        let at = address.checked_add(u64::try_from(id.checked_add(4)?).ok()?)?;
        let distance = i32::try_from(code.start.wrapping_sub(at).cast_signed());
        let len = u32::try_from(code.end.saturating_sub(code.start));
        let (Ok(distance), Ok(len)) = (distance, len) else { continue };
        let mut function = u32::try_from(id).ok()?.to_le_bytes().to_vec();
        function.extend(distance.to_le_bytes());
        function.extend(len.to_le_bytes());
        function.push(0);
        let function = record(function);
        if records.len().checked_add(function.len())? > room_bytes {
            break;
        }
        records.extend(function);
    }
    Some(records)
}

/// A section `.debug_frame` that says nothing of some code.
pub(super) fn debug_frame(code: &[Range<u64>], machine: FrameMachine) -> Option<Vec<u8>> {
    let mut common = vec![0xff, 0xff, 0xff, 0xff, 1, 0];
    common.extend(machine.factors());
    common.extend(machine.instructions());
    let mut records = record(common);
    for code in code {
        let mut function = vec![0; 4];
        function.extend(machine.address(code.start)?);
        function.extend(machine.address(code.end.saturating_sub(code.start))?);
        records.extend(record(function));
    }
    Some(records)
}

/// A record with its length before it, made longer by instructions that do nothing.
fn record(mut bytes: Vec<u8>) -> Vec<u8> {
    let padding = (8_usize.wrapping_sub(bytes.len() % 8) % 8).saturating_add(4);
    bytes.extend(std::iter::repeat_n(0, padding));
    let len = u32::try_from(bytes.len()).unwrap_or_default();
    let mut record = len.to_le_bytes().to_vec();
    record.append(&mut bytes);
    record
}

//! Meanings of stop codes and their parameters.

mod names;

/// Meaning of each parameter of a stop code; an empty text is of a reserved
/// one, or of one that depends on others.
type Meanings = [&'static str; 4];

/// Bits that modify a code: `_M` variants, and codes of live dumps.
const MODIFIERS: u32 = 0x9000_0000;

/// Names of the parameters of the commonest codes, as Microsoft's "Bug Check Code
/// Reference" describes them.
const PARAMETERS: &[(u32, Meanings)] = &[
    (0x0a, ["address referenced", "IRQL", "access: 0 read, 1 write, 8 execute", "instruction"]),
    (0x19, ["what is wrong with the pool", "pool block", "", ""]),
    (0x1a, ["what is wrong with memory management", "", "", ""]),
    (0x1e, ["exception code", "instruction", "parameter 0 of the exception", "parameter 1 of it"]),
    (0x24, ["source file and line", "exception record", "context record", "instruction"]),
    (0x3b, ["exception code", "instruction", "context record", ""]),
    (0x50, ["address referenced", "access: 0 read, 1 or 2 write, 16 execute", "instruction", ""]),
    (0x7a, ["page table entry", "error status", "", "address that could not be paged in"]),
    (0x7b, ["name of the boot device, or its device object", "", "", ""]),
    (0x7e, ["exception code", "instruction", "exception record", "context record"]),
    (0x7f, ["trap number", "", "", ""]),
    (0x8e, ["exception code", "instruction", "trap frame", ""]),
    (0x9f, ["kind: 3 a device object held an IRP too long", "", "device object", "triage data"]),
    (0xc2, ["kind of bad use of the pool", "", "", ""]),
    (0xc4, ["rule of Driver Verifier that was broken", "", "", ""]),
    (0xc5, ["address referenced", "IRQL", "access: 0 read, 1 write", "instruction"]),
    (0xd1, ["address referenced", "IRQL", "access: 0 read, 1 write, 8 execute", "instruction"]),
    (0xe2, ["", "", "", ""]),
    (0xef, ["process object", "0: a process ended, 1: a thread", "", ""]),
    (0xf4, ["kind: 3 process, 6 thread", "object that ended", "name of its image", "why"]),
    (0xf7, ["cookie found on the stack", "cookie expected", "its complement", ""]),
    (0xfc, ["address executed", "page table entry", "", ""]),
    (0x101, ["ticks without an answer", "", "KPRCB of the processor that hangs", "its number"]),
    (0x109, ["", "", "what was corrupted, or where", "kind of what was corrupted"]),
    (0x116, ["recovery context", "pointer into the driver", "error status", ""]),
    (0x124, ["kind of error", "WHEA error record", "", ""]),
    (0x133, ["0: one DPC, 1: all time at DISPATCH_LEVEL", "ticks it took", "ticks allowed", ""]),
    (0x139, ["kind of corruption", "trap frame", "exception record", ""]),
    (0x161, ["", "", "", ""]),
    (0xc000_021a, ["name of the process that ended", "its status", "", ""]),
];

/// The name of a stop code, such as `IRQL_NOT_LESS_OR_EQUAL`. Bits that only
/// modify the code are dropped if it has no name with them.
pub fn bugcheck_name(code: u64) -> Option<&'static str> {
    let code = u32::try_from(code).ok()?;
    named(code).or_else(|| named(code & !MODIFIERS))
}

fn named(code: u32) -> Option<&'static str> {
    let index = names::NAMES.binary_search_by_key(&code, |(code, _)| *code).ok()?;
    names::NAMES.get(index).map(|(_, name)| *name)
}

/// Names of the four parameters of a stop code; `None` where they are not known.
pub fn bugcheck_parameters(code: u64) -> [Option<&'static str>; 4] {
    let found = u32::try_from(code).ok().and_then(meanings);
    found.map_or([None; 4], |meanings| meanings.map(|text| (!text.is_empty()).then_some(text)))
}

fn meanings(code: u32) -> Option<Meanings> {
    let of = |code| PARAMETERS.iter().find(|(known, _)| *known == code);
    of(code).or_else(|| of(code & !MODIFIERS)).map(|(_, meanings)| *meanings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_ascending_and_named_with_and_without_modifiers() {
        assert!(names::NAMES.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert_eq!(bugcheck_name(0xa), Some("IRQL_NOT_LESS_OR_EQUAL"));
        assert_eq!(bugcheck_name(0x1000_007e), Some("SYSTEM_THREAD_EXCEPTION_NOT_HANDLED_M"));
        assert_eq!(bugcheck_name(0x1000_003b), Some("SYSTEM_SERVICE_EXCEPTION"));
        assert_eq!(bugcheck_name(0xdead_dead), Some("MANUALLY_INITIATED_CRASH1"));
        assert_eq!(bugcheck_name(0x161), Some("LIVE_SYSTEM_DUMP"));
        assert_eq!(bugcheck_name(0x1_0000_000a), None);
    }

    #[test]
    fn parameters_are_explained_where_known() {
        let [address, irql, _, ip] = bugcheck_parameters(0xd1);
        assert_eq!(
            (address, irql, ip),
            (Some("address referenced"), Some("IRQL"), Some("instruction"))
        );
        assert_eq!(bugcheck_parameters(0x1000_007e)[2], Some("exception record"));
        assert_eq!(bugcheck_parameters(0x4242), [None; 4]);
    }

    #[test]
    fn explained_codes_have_names() {
        for (code, _) in PARAMETERS {
            assert!(named(*code).is_some(), "{code:#x}");
        }
    }
}

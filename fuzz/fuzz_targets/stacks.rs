#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vmss2core_guest::fuzzing::stacks(data));

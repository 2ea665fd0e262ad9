#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vmss2core_machine::x86::fuzzing::paging(data));

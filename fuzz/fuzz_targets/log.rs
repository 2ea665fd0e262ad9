#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| drop(vmss2core_guest::fuzzing::log(data)));

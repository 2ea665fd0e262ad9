#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    vmss2core_checkpoint::fuzzing::archive(data, &std::env::temp_dir());
});

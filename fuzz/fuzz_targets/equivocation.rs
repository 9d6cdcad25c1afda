#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| bftkv_fuzz::targets::run("equivocation", data));

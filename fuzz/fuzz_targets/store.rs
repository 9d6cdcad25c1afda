#![no_main]
libfuzzer_sys::fuzz_target!(
    init: bftkv_fuzz::allow_contained_panics(),
    |data: &[u8]| bftkv_fuzz::targets::run("store", data)
);

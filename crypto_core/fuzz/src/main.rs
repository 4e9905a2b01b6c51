//! One parser under libFuzzer, the one whose number PARSER holds; `--corpus` of `tests/parsers.rs` lists them and writes seeds.

#![no_main]

#[allow(dead_code)] // the seeds are for another program
#[path = "../../tests/parsers/targets.rs"]
mod targets;

use targets::{Parse, targets};

thread_local! {
    static PARSE: Parse = {
        let number = std::env::var("PARSER").ok().and_then(|number| number.parse::<usize>().ok());
        let mut targets = targets();
        targets.swap_remove(number.expect("PARSER: the number of a parser")).parse
    };
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    PARSE.with(|parse| parse(data));
});

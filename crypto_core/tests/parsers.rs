//! Every parser, fed with damaged files: no panic, and whatever is accepted is written again byte for byte where one form exists.
//!
//! Valid files are the corpus; they are damaged by flipped bits, replaced, inserted, doubled and cut bytes, changed lengths, and splices of
//! two files. It repeats itself exactly; what it does not think of, `fuzz/` looks for, guided by coverage.
//! `cargo test` gives each parser 100,000, the slow ones 20,000; `--executions 100000` is what `python -m tests.evidence parsers` makes,
//! ten times as many.
//! `--corpus FOLDER` writes the valid files, one folder per parser, as seeds for `fuzz/`.

#[path = "parsers/targets.rs"]
mod targets;

use crypto_core::sm3;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Instant;
use targets::{Target, targets};

const EXECUTIONS_SHORT: usize = 10_000;

fn main() {
    if let Some(folder) = argument("--corpus") {
        return write_corpus(Path::new(&folder));
    }
    let executions = argument("--executions").map_or(EXECUTIONS_SHORT, |number| {
        number
            .replace('_', "")
            .parse()
            .expect("--executions NUMBER")
    });
    println!(
        "{:<44} {:>10} {:>10} {:>8}",
        "parser", "inputs", "accepted", "seconds"
    );
    let mut total = 0;
    for target in targets() {
        total += target.feed(executions * target.weight);
    }
    println!("{total} inputs, no panic");
}

fn argument(name: &str) -> Option<String> {
    let mut arguments = std::env::args();
    arguments.find(|argument| argument == name)?;
    arguments.next()
}

/// The number of the parser names its folder; the name is printed after it.
fn write_corpus(folder: &Path) {
    for (number, target) in targets().iter().enumerate() {
        let its = folder.join(number.to_string());
        std::fs::create_dir_all(&its).expect("a folder");
        for (i, valid) in target.corpus.iter().enumerate() {
            std::fs::write(its.join(i.to_string()), valid).expect("a file");
        }
        println!("{number} {}", target.name);
    }
}

impl Target {
    fn feed(&self, executions: usize) -> usize {
        for valid in &self.corpus {
            assert!(
                (self.parse)(valid),
                "{}: a valid input was refused",
                self.name
            );
        }
        let mut dice = Dice::new(self.name);
        let (mut accepted, started) = (0, Instant::now());
        for _ in 0..executions {
            let input = damage(&self.corpus, &mut dice);
            match catch_unwind(AssertUnwindSafe(|| (self.parse)(&input))) {
                Ok(fits) => accepted += usize::from(fits),
                Err(_) => {
                    let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
                    panic!("{}: panics on {hex}", self.name);
                }
            }
        }
        let seconds = started.elapsed().as_secs_f64();
        println!(
            "{:<44} {executions:>10} {accepted:>10} {seconds:>8.1}",
            self.name
        );
        executions
    }
}

/// Numbers without order, the same in each run.
struct Dice {
    state: [u8; 32],
    used: usize,
}

impl Dice {
    fn new(seed: &str) -> Self {
        Self {
            state: sm3::digest(seed.as_bytes()),
            used: 0,
        }
    }

    fn byte(&mut self) -> u8 {
        if self.used == 32 {
            self.state = sm3::digest(&self.state);
            self.used = 0;
        }
        self.used += 1;
        self.state[self.used - 1]
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::from(u16::from_le_bytes([self.byte(), self.byte()])) % limit.max(1)
    }
}

fn damage(corpus: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let mut input = corpus[dice.below(corpus.len())].clone();
    for _ in 0..=dice.below(4) {
        let place = dice.below(input.len());
        let front = place % input.len().clamp(1, 12);
        match dice.below(9) {
            0 if !input.is_empty() => input[place] ^= 1 << dice.below(8),
            1 if !input.is_empty() => input[place] = dice.byte(),
            // Lengths and tags lie at the front.
            2 if !input.is_empty() => input[front] = dice.byte(),
            3 if !input.is_empty() => {
                input[place] = [0, 1, 0x7f, 0x80, 0x81, 0x84, 0xff][dice.below(7)]
            }
            4 => input.insert(place, dice.byte()),
            5 if !input.is_empty() => drop(input.remove(place)),
            6 => input.truncate(place),
            7 => {
                let end = (place + dice.below(40)).min(input.len());
                let piece = input[place..end].to_vec();
                input.splice(place..place, piece);
            }
            _ => {
                let other = &corpus[dice.below(corpus.len())];
                let from = dice.below(other.len());
                input.truncate(place);
                input.extend(&other[from..]);
            }
        }
    }
    input
}

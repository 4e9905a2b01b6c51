//! Does the time of secret work depend on the secret? Welch's t-test after dudect (Reparaz, Balasch, Verbauwhede 2017).
//!
//! Two classes of secrets, a random order, the time of each call; then |t| over all samples and over those below each of several
//! percentiles, for interrupts are nobody's secret. Each secret is moved to the same place before the clock starts: a processor is
//! slower where an address read and one written before agree in their last twelve bits, and where secrets lie is no secret.
//! The largest |t| counts. Below 4.5 no difference was seen; that is evidence, not proof. `cargo test` takes few samples and a wide mark, because other work disturbs it; the evidence is
//! `--samples 1000000`, which `python -m tests.evidence timing` runs; `--only SM4` takes the rows that say so.

use crypto_core::sm2::SigningKey;
use crypto_core::sm2::measured::Secrets;
use crypto_core::sm3;
use crypto_core::sm4;
use crypto_core::tier::{self, Tier};
use std::hint::black_box;
use std::time::Instant;

/// The mark of the evidence.
const T_MAX: f64 = 4.5;
/// The mark of a short run among other tests: still far below what a branch on a secret gives.
const T_MAX_SHORT: f64 = 10.0;
const SAMPLES_SHORT: usize = 10_000;
/// Inputs per class; both classes use as many, so that caches treat them alike.
const INPUTS: usize = 64;
const PERCENTILES: [f64; 6] = [0.5, 0.7, 0.8, 0.9, 0.95, 0.99];

fn main() {
    let samples = argument("--samples").map_or(SAMPLES_SHORT, |number| {
        number.replace('_', "").parse().expect("--samples NUMBER")
    });
    let only = argument("--only").unwrap_or_default();
    let mark = if samples < 1_000_000 {
        T_MAX_SHORT
    } else {
        T_MAX
    };
    println!(
        "{:<44} {:<9} {:>9} {:>9} {:>6}",
        "secret work", "tier", "N", "ns", "|t|"
    );
    let mut worst: f64 = 0.0;
    for tier in tier::available() {
        assert!(tier::force(Some(tier)));
        for mut work in works(tier) {
            if work.differs_in.contains(&tier) && work.name.contains(&only) {
                let mut t = report(&mut work, tier, samples);
                if t >= mark {
                    // A disturbance goes away; a leak grows with the root of the samples, to twice this.
                    t = report(&mut work, tier, 4 * samples);
                }
                worst = worst.max(t);
            }
        }
    }
    let leaky = report(&mut planted(), tier::best(), samples.min(20_000));
    println!("largest |t| {worst:.2}, allowed {mark}; the planted branch gives {leaky:.0}");
    assert!(
        worst < mark,
        "the time of secret work depends on the secret"
    );
    assert!(leaky > mark, "the test does not see a planted branch");
}

fn argument(name: &str) -> Option<String> {
    let mut arguments = std::env::args();
    arguments.find(|argument| argument == name)?;
    arguments.next()
}

/// One piece of secret work.
struct Work {
    name: &'static str,
    differs_in: &'static [Tier],
    /// Run input i of class c; the time in ns.
    time: Box<dyn FnMut(usize, usize) -> f64>,
}

impl Work {
    /// What `make` gives holds the secret in itself and not behind a pointer; `run` is timed.
    fn new<T: 'static>(
        name: &'static str,
        differs_in: &'static [Tier],
        make: impl Fn(usize, usize) -> T,
        run: impl Fn(&T) + 'static,
    ) -> Self {
        // The classes lie side by side, so that neither has the better part of a cache.
        let mut inputs: Vec<[T; 2]> = (0..INPUTS)
            .map(|i| [0, 1].map(|class| make(class, i)))
            .collect();
        let mut place = Box::new(make(0, INPUTS));
        let time = move |class: usize, i: usize| {
            std::mem::swap(&mut *place, &mut inputs[i][class]);
            let started = Instant::now();
            run(black_box(&place));
            let time = started.elapsed();
            std::mem::swap(&mut *place, &mut inputs[i][class]);
            time.as_nanos() as f64
        };
        let time = Box::new(time);
        Self {
            name,
            differs_in,
            time,
        }
    }
}

const ALL: &[Tier] = &Tier::ALL;

fn works(tier: Tier) -> Vec<Work> {
    // The widest tier works on eight at a time; the others would only take longer.
    let batch = if tier == Tier::Avx512 { 8 } else { 2 };
    vec![
        multiplication(),
        signing(1),
        signing(batch),
        key_generation(),
        sm4_key(),
        sm4_text(),
        sm4_lanes(),
        sm4_gcm_key(),
        sm4_gcm_text(),
    ]
}

/// Class 0: secrets without order. Class 1: secrets with a single bit or two, nearly all digits alike.
fn secret(class: usize, i: usize) -> [u8; 32] {
    if class == 0 {
        let mut random = sm3::digest(&i.to_be_bytes());
        random[0] &= 0x7f;
        return random;
    }
    let mut sparse = [0; 32];
    sparse[31 - (i * 7) % 31] = 1 << (i % 8);
    sparse[31] |= 1;
    sparse
}

/// Nonces of one batch: from twelve on the portable tier adds them by a tree that shares its inversions; and eight lanes, and a rest.
const NONCES: usize = 12;

fn multiplication() -> Work {
    Work::new(
        "SM2 k·G of twelve nonces: random or sparse",
        &[Tier::Portable, Tier::Avx512],
        |class, i| {
            Secrets::read(&std::array::from_fn::<_, NONCES, _>(|lane| {
                secret(class, i * NONCES + lane)
            }))
        },
        |nonces| assert!(black_box(nonces.multiply())),
    )
}

fn signing(batch: usize) -> Work {
    let name = match batch {
        1 => "SM2 signing, one: key random or sparse",
        _ => "SM2 signing, batch: key random or sparse",
    };
    let digests = vec![[7; 32]; batch];
    Work::new(
        name,
        ALL,
        |class, i| SigningKey::from_bytes(&secret(class, i)).expect("a key"),
        move |key| {
            let signed = match batch {
                1 => key.sign_digest(&digests[0]).map(|one| vec![one]),
                _ => key.sign_digests(&digests),
            };
            assert_eq!(black_box(signed).expect("signed").len(), batch);
        },
    )
}

fn key_generation() -> Work {
    Work::new("SM2 key from d: random or sparse", ALL, secret, |d| {
        assert!(black_box(SigningKey::from_bytes(d)).is_ok());
    })
}

fn block(class: usize, i: usize) -> [u8; 16] {
    match class {
        0 => sm3::digest(&i.to_le_bytes())[..16]
            .try_into()
            .expect("16 bytes"),
        _ => [if i.is_multiple_of(2) { 0 } else { 0xff }; 16],
    }
}

fn text(class: usize, i: usize) -> [u8; 64] {
    std::array::from_fn(|place| block(class, i)[place % 16])
}

fn sm4_key() -> Work {
    Work::new("SM4-CBC 64 B: key random or all alike", ALL, block, |key| {
        let sealed = sm4::cbc_encrypt(key, &[1; 16], &[2; 64]);
        assert!(black_box(sealed).is_ok());
    })
}

fn sm4_text() -> Work {
    Work::new(
        "SM4-CBC 64 B: text random or all alike",
        ALL,
        text,
        |text| {
            let sealed = sm4::cbc_encrypt(&[3; 16], &[1; 16], text);
            assert!(black_box(sealed).is_ok());
        },
    )
}

/// As many texts as the widest tier takes side by side.
const TEXTS: usize = 64;

fn sm4_lanes() -> Work {
    Work::new(
        "SM4-CBC 64 × 64 B: all random or all alike",
        &[Tier::Avx512],
        |class, i| {
            let texts: [[u8; 64]; TEXTS] =
                std::array::from_fn(|lane| text(class, i * TEXTS + 2 * lane));
            (block(class, i), texts)
        },
        |(key, texts)| {
            let sealed = sm4::cbc_encrypt_many(key, &[[1; 16]; TEXTS], texts);
            assert!(black_box(sealed).is_ok());
        },
    )
}

fn seal(key: &sm4::GcmKey, text: &[u8]) {
    let message = sm4::Message {
        nonce: &[1; 12],
        data: text,
        aad: &[],
    };
    assert!(black_box(key.seal_texts(&[message; 8])).is_ok());
}

fn sm4_gcm_key() -> Work {
    Work::new(
        "SM4-GCM 8 × 64 B: key random or all alike",
        ALL,
        block,
        |key| seal(&sm4::GcmKey::new(key).expect("a key"), &[2; 64]),
    )
}

fn sm4_gcm_text() -> Work {
    let key = sm4::GcmKey::new(&[3; 16]).expect("a key");
    Work::new(
        "SM4-GCM 8 × 64 B: text random or all alike",
        ALL,
        text,
        move |text| seal(&key, text),
    )
}

/// What must be seen: a multiplication that skips the zero bits of its secret.
fn planted() -> Work {
    Work::new(
        "planted: a branch on each bit of the secret",
        ALL,
        secret,
        |secret| {
            let mut sum = 1u64;
            for bit in 0..256 {
                sum = black_box(sum.rotate_left(1));
                if secret[bit / 8] >> (bit % 8) & 1 == 1 {
                    sum = black_box(sum.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(7));
                }
            }
            black_box(sum);
        },
    )
}

fn report(work: &mut Work, tier: Tier, samples: usize) -> f64 {
    let (mean, t) = measure(work, samples);
    println!(
        "{:<44} {:<9} {samples:>9} {mean:>9.0} {t:>6.2}",
        work.name,
        tier.name()
    );
    t
}

/// The mean time of class 0 in ns, and the largest |t|.
fn measure(work: &mut Work, samples: usize) -> (f64, f64) {
    let mut times = Vec::with_capacity(samples);
    let mut order = [0; 32];
    for sample in 0..samples + INPUTS {
        if sample % 256 == 0 {
            order = sm3::digest(&[&order[..], &sample.to_be_bytes()].concat());
        }
        let class = usize::from(order[sample % 256 / 8] >> (sample % 8) & 1);
        // The input is chosen by chance too.
        let input = usize::from(order[sample % 32] ^ order[(sample + 7) % 32]) % INPUTS;
        times.push(((work.time)(class, input), class));
    }
    times.drain(..INPUTS); // warming up
    let mut sorted: Vec<f64> = times.iter().map(|(time, _)| *time).collect();
    sorted.sort_by(f64::total_cmp);
    let at = |share: f64| sorted[((sorted.len() - 1) as f64 * share) as usize];
    let cuts = PERCENTILES.map(at).into_iter().chain([f64::INFINITY]);
    let t = cuts.map(|cut| welch(&times, cut).abs()).fold(0.0, f64::max);
    (at(0.5), t)
}

/// Welch's t of the two classes, of the times up to `cut`.
fn welch(times: &[(f64, usize)], cut: f64) -> f64 {
    let [a, b] = [0, 1].map(|class| {
        let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
        for (time, _) in times
            .iter()
            .filter(|(time, of)| *of == class && *time <= cut)
        {
            count += 1.0;
            let distance = time - mean;
            mean += distance / count;
            squares += distance * (time - mean);
        }
        (mean, squares / (count - 1.0) / count)
    });
    let spread = (a.1 + b.1).sqrt();
    if spread > 0.0 {
        (a.0 - b.0) / spread
    } else {
        0.0
    }
}

//! Speed of the engines on one thread, per tier. Run: cargo run --release --example speed [tier [part of a name]]
use crypto_core::{sm2, sm3, sm4, threads, tier};
use std::hint::black_box;

/// CPU time of this thread in seconds; other work on the machine does not count (Linux).
fn cpu_seconds() -> f64 {
    let text =
        std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux with schedstat");
    let nanoseconds = text
        .split(' ')
        .next()
        .and_then(|first| first.parse::<f64>().ok());
    nanoseconds.expect("a number first") / 1e9
}

/// Median of several runs of about 0.1 s of CPU time each, in MB per CPU second.
fn rate(name: &str, bytes: usize, mut work: impl FnMut()) {
    if std::env::args()
        .nth(2)
        .is_some_and(|part| !name.contains(&part))
    {
        return;
    }
    let mut rates: Vec<f64> = (0..7)
        .map(|_| {
            let start = cpu_seconds();
            let mut rounds = 0;
            while cpu_seconds() < start + 0.1 {
                (0..4).for_each(|_| work());
                rounds += 4;
            }
            bytes as f64 * f64::from(rounds) / (cpu_seconds() - start) / 1e6
        })
        .collect();
    rates.sort_by(f64::total_cmp);
    println!(
        "  {name:<28} {:>8.0} MB/s  ({:.0}..{:.0})",
        rates[3], rates[0], rates[6]
    );
}

/// Operations of SM2 per second of CPU time, printed as MB/s: one operation is a million bytes.
fn sm2(messages: &[Vec<u8>]) {
    let key = sm2::SigningKey::generate().expect("entropy");
    let public = key.public_key().prepare();
    let identity = sm2::DEFAULT_IDENTITY;
    let signatures = key.sign_many(messages, identity).expect("entropy");
    let operation = 1_000_000;
    rate("SM2 sign many (op/s)", messages.len() * operation, || {
        black_box(key.sign_many(black_box(messages), identity).ok());
    });
    rate("SM2 verify many (op/s)", messages.len() * operation, || {
        black_box(
            public
                .verify_many(black_box(messages), &signatures, identity)
                .ok(),
        );
    });
    rate("SM2 sign one (op/s)", operation, || {
        black_box(key.sign(black_box(&messages[0]), identity).ok());
    });
    rate("SM2 verify one (op/s)", operation, || {
        black_box(
            public
                .verify(black_box(&messages[0]), &signatures[0], identity)
                .ok(),
        );
    });
}

fn main() {
    threads::set_limit(1);
    let one = vec![0x5a; 1 << 20];
    for size in [256] {
        let items = vec![vec![0x5a; size]; 1024];
        let nonces = vec![[7; 12]; 1024];
        let ivs = vec![[7; 16]; 1024];
        let total = size * 1024;
        let wanted = |tier: &tier::Tier| {
            std::env::args()
                .nth(1)
                .is_none_or(|name| name == tier.name())
        };
        for tier in tier::available().filter(wanted) {
            tier::force(Some(tier));
            println!(
                "{} ({} x {size} bytes; one: 1 MiB)",
                tier.name(),
                items.len()
            );
            sm2(&items);
            rate("SM3 one", one.len(), || {
                black_box(sm3::digest(black_box(&one)));
            });
            rate("SM3 many", total, || {
                black_box(sm3::digest_many(black_box(&items)));
            });
            rate("SM4-CBC encrypt many", total, || {
                black_box(sm4::cbc_encrypt_many(&[1; 16], &ivs, black_box(&items)).unwrap());
            });
            let sealed = sm4::cbc_encrypt_many(&[1; 16], &ivs, &items)
                .unwrap()
                .to_vecs();
            rate("SM4-CBC decrypt many", total, || {
                black_box(sm4::cbc_decrypt_many(&[1; 16], &ivs, black_box(&sealed)).unwrap());
            });
            rate("SM4-CBC decrypt one", one.len(), || {
                black_box(sm4::cbc_decrypt(&[1; 16], &[7; 16], black_box(&one)).ok());
            });
            rate("SM4-CBC encrypt one", 65536, || {
                black_box(sm4::cbc_encrypt(&[1; 16], &[7; 16], black_box(&one[..65536])).unwrap());
            });
            rate("SM4-CTR one", one.len(), || {
                black_box(sm4::ctr(&[1; 16], &[7; 16], black_box(&one)).unwrap());
            });
            let key = sm4::GcmKey::new(&[1; 16]).unwrap();
            rate("SM4-GCM seal one", one.len(), || {
                let (nonce, data, aad) = (&nonces[0][..], &one[..], &b""[..]);
                black_box(
                    key.seal(black_box(sm4::Message { nonce, data, aad }))
                        .unwrap(),
                );
            });
            let messages: Vec<_> = items
                .iter()
                .zip(&nonces)
                .map(|(data, nonce)| sm4::Message {
                    nonce,
                    data,
                    aad: b"",
                })
                .collect();
            rate("SM4-GCM seal many", total, || {
                black_box(key.seal_texts(black_box(&messages)).unwrap());
            });
        }
    }
}

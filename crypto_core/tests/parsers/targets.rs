//! The parsers, each with valid files: fed with damaged ones by `parsers.rs`, and guided by coverage by `fuzz/`.

use crypto_core::envelope::{self, EnvelopeKey};
use crypto_core::general;
use crypto_core::keystore::{self, ITERATIONS_MIN, Suite};
use crypto_core::sm2::{self, Order, SigningKey, VerifyKey};
use crypto_core::sm4;

/// Inputs of a parser, in shares of what is asked for; those get fewer whose inputs take a tenth of a millisecond: opening multiplies
/// a point, reading an RSA key checks its primes.
const QUICK: usize = 10;
const SLOW: usize = 2;

/// Whether the bytes were accepted; it must return whatever they are.
pub type Parse = Box<dyn Fn(&[u8]) -> bool>;

pub struct Target {
    pub name: &'static str,
    pub weight: usize,
    pub corpus: Vec<Vec<u8>>,
    /// Whether the input was accepted. Panics where what was accepted is not what would be written.
    pub parse: Parse,
}

pub fn targets() -> Vec<Target> {
    let mut targets = sm2_targets();
    targets.extend(key_file_targets());
    targets.extend(general_targets());
    targets.extend(sealed_targets());
    targets
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32]).expect("a key")
}

fn sm2_targets() -> Vec<Target> {
    let signatures: Vec<Vec<u8>> = (0..8)
        .map(|_| key(1).sign_digest(&[7; 32]).expect("signed").to_vec())
        .collect();
    let der = |raw: &Vec<u8>| sm2::to_der(raw).expect("64 bytes");
    let texts = [1usize, 32, 100];
    let seal = |order| {
        move |length: &usize| {
            key(1)
                .public_key()
                .encrypt(&vec![5; *length], order)
                .expect("sealed")
        }
    };
    let c1c3c2: Vec<Vec<u8>> = texts.iter().map(seal(Order::C1C3C2)).collect();
    let decrypts = |order| move |input: &[u8]| key(1).decrypt(input, order).is_ok();
    vec![
        Target {
            name: "SM2 signature, DER",
            weight: QUICK,
            corpus: signatures
                .iter()
                .map(der)
                .chain([vec![0x30, 6, 2, 1, 1, 2, 1, 1]])
                .collect(),
            parse: Box::new(|input| match sm2::from_der(input) {
                Ok(raw) => sm2::to_der(&raw).expect("64 bytes") == input || panic!("two forms"),
                Err(_) => false,
            }),
        },
        Target {
            name: "SM2 signature, raw, verified",
            weight: QUICK,
            corpus: signatures,
            parse: Box::new(|input| key_once().verify_digest(&[7; 32], input).is_ok()),
        },
        Target {
            name: "SM2 public key, bytes",
            weight: QUICK,
            corpus: vec![
                key(1).public_key().to_bytes().to_vec(),
                key(2).public_key().to_bytes()[1..].to_vec(),
            ],
            parse: Box::new(|input| match VerifyKey::from_bytes(input) {
                Ok(key) => key.to_bytes().ends_with(input) || panic!("two forms"),
                Err(_) => false,
            }),
        },
        Target {
            name: "SM2 ciphertext, DER (GM/T 0009)",
            weight: QUICK,
            corpus: c1c3c2
                .iter()
                .map(|raw| sm2::ciphertext_to_der(raw).expect("long enough"))
                .collect(),
            parse: Box::new(|input| match sm2::ciphertext_from_der(input) {
                Ok(raw) => {
                    sm2::ciphertext_to_der(&raw).expect("long enough") == input
                        || panic!("two forms")
                }
                Err(_) => false,
            }),
        },
        Target {
            name: "SM2 ciphertext, C1C3C2, opened",
            weight: SLOW,
            corpus: c1c3c2,
            parse: Box::new(decrypts(Order::C1C3C2)),
        },
        Target {
            name: "SM2 ciphertext, C1C2C3, opened",
            weight: SLOW,
            corpus: texts.iter().map(seal(Order::C1C2C3)).collect(),
            parse: Box::new(decrypts(Order::C1C2C3)),
        },
    ]
}

/// One public key for all verifications, so that its table is made once.
fn key_once() -> &'static VerifyKey {
    static KEY: std::sync::OnceLock<VerifyKey> = std::sync::OnceLock::new();
    KEY.get_or_init(|| key(1).public_key().prepare())
}

fn key_file_targets() -> Vec<Target> {
    let plain: Vec<Vec<u8>> = (1..4)
        .map(|i| keystore::to_pkcs8(&key(i)).expect("written").to_vec())
        .collect();
    let public: Vec<Vec<u8>> = (1..4)
        .map(|i| keystore::public_key_to_der(key(i).public_key()).expect("written"))
        .collect();
    let pem: Vec<Vec<u8>> = (1..4)
        .map(|i| {
            keystore::public_key_to_pem(key(i).public_key())
                .expect("written")
                .into()
        })
        .collect();
    let sealed = |suite| {
        keystore::to_encrypted_pem(&key(1), b"pw", ITERATIONS_MIN, suite)
            .expect("sealed")
            .into_bytes()
    };
    let sealed = vec![sealed(Suite::Sm), sealed(Suite::Aes)];
    vec![
        Target {
            name: "PKCS#8, plain, DER",
            weight: QUICK,
            corpus: plain,
            parse: Box::new(|input| keystore::read_private_key(input, None).is_ok()),
        },
        Target {
            name: "SubjectPublicKeyInfo, DER",
            weight: QUICK,
            corpus: public,
            parse: Box::new(|input| match keystore::read_public_key(input) {
                Ok(key) => {
                    keystore::public_key_to_der(&key).expect("written") == input
                        || panic!("two forms")
                }
                Err(_) => false,
            }),
        },
        Target {
            name: "SubjectPublicKeyInfo, PEM",
            weight: QUICK,
            corpus: pem,
            parse: Box::new(|input| keystore::read_public_key(input).is_ok()),
        },
        Target {
            // The work of a password is left out: it is not a parser, and takes milliseconds by design.
            name: "PKCS#8, encrypted, PEM, parameters",
            weight: QUICK,
            corpus: sealed.clone(),
            parse: Box::new(|input| keystore::iterations_of(input).is_ok()),
        },
        Target {
            name: "PKCS#8, encrypted, DER, parameters",
            weight: QUICK,
            corpus: sealed.iter().map(|pem| from_pem(pem)).collect(),
            parse: Box::new(|input| keystore::iterations_of(input).is_ok()),
        },
    ]
}

fn from_pem(pem: &[u8]) -> Vec<u8> {
    der::pem::decode_vec(pem).expect("PEM").1
}

fn general_targets() -> Vec<Target> {
    let mut targets = Vec::new();
    for (private, public, algorithm) in [
        (
            "PKCS#8, Ed25519",
            "SubjectPublicKeyInfo, Ed25519",
            general::Algorithm::Ed25519,
        ),
        (
            "PKCS#8, P-256",
            "SubjectPublicKeyInfo, P-256",
            general::Algorithm::EcdsaP256,
        ),
        (
            "PKCS#8, RSA",
            "SubjectPublicKeyInfo, RSA",
            general::Algorithm::RsaPssSha256,
        ),
    ] {
        let key = general::SigningKey::generate(algorithm).expect("made");
        targets.push(Target {
            name: private,
            weight: match algorithm {
                general::Algorithm::RsaPssSha256 => SLOW,
                _ => QUICK,
            },
            corpus: vec![key.to_pkcs8().expect("written").to_vec()],
            parse: Box::new(move |input| general::SigningKey::from_pkcs8(algorithm, input).is_ok()),
        });
        targets.push(Target {
            name: public,
            weight: QUICK,
            corpus: vec![
                key.public_key()
                    .and_then(|key| key.to_der())
                    .expect("written"),
            ],
            parse: Box::new(move |input| general::VerifyKey::from_bytes(algorithm, input).is_ok()),
        });
    }
    targets
}

fn sealed_targets() -> Vec<Target> {
    let key = EnvelopeKey::new(envelope::Algorithm::Sm4Gcm, b"2026-11", &[8; 16]).expect("a key");
    let texts: [&[u8]; 3] = [b"", b"text", &[6; 200]];
    let none: &[&[u8]] = &[];
    let sealed = key.seal_many(&texts, none).expect("sealed");
    let padded: Vec<Vec<u8>> = texts
        .iter()
        .map(|text| sm4::cbc_encrypt(&[3; 16], &[4; 16], text).expect("sealed"))
        .collect();
    vec![
        Target {
            name: "envelope, key id",
            weight: QUICK,
            corpus: sealed.clone(),
            parse: Box::new(|input| envelope::key_id(input).is_ok()),
        },
        Target {
            name: "envelope, opened",
            weight: QUICK,
            corpus: sealed,
            parse: Box::new(move |input| {
                let none: &[&[u8]] = &[];
                key.open_many(&[input], none).expect("counts fit")[0].is_some()
            }),
        },
        Target {
            name: "SM4-CBC with padding, opened",
            weight: QUICK,
            corpus: padded,
            parse: Box::new(|input| sm4::cbc_decrypt(&[3; 16], &[4; 16], input).is_ok()),
        },
    ]
}

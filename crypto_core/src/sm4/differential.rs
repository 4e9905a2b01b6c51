//! 100,000 messages in each mode against RustCrypto's `sm4` and the modes' definitions, each tier forced. What the others say is
//! computed once.

use super::ghash::tests::by_definition;
use super::{Block, GcmKey, Message, cbc_decrypt_many, cbc_encrypt_many, ctr};
use crate::tier;
use ::sm4::Sm4;
use ::sm4::cipher::{BlockEncrypt, KeyInit};

const KEYS: usize = 100;
const MESSAGES: usize = 1_000;

/// A plaintext with what the modes make of it: CBC with the nonce block as initial vector, CTR from that block on, GCM.
struct Case {
    nonce: Block,
    text: Vec<u8>,
    aad: Vec<u8>,
    cbc: Vec<u8>,
    ctr: Vec<u8>,
    gcm: Vec<u8>,
}

fn encrypt(cipher: &Sm4, mut block: Block) -> Block {
    cipher.encrypt_block((&mut block).into());
    block
}

fn xored(a: &Block, b: &[u8]) -> Block {
    let mut sum = *a;
    sum.iter_mut().zip(b).for_each(|(a, b)| *a ^= b);
    sum
}

/// The text with the key stream that begins at `counter`; `next` counts.
fn stream(cipher: &Sm4, text: &[u8], mut counter: u128, next: fn(u128) -> u128) -> Vec<u8> {
    let mut output = Vec::new();
    for part in text.chunks(16) {
        output
            .extend_from_slice(&xored(&encrypt(cipher, counter.to_be_bytes()), part)[..part.len()]);
        counter = next(counter);
    }
    // The bytes of the key stream that are xored with nothing are cut off above.
    output
}

fn cbc(cipher: &Sm4, iv: &Block, text: &[u8]) -> Vec<u8> {
    let padding = 16 - text.len() % 16;
    let padded = [text, &vec![padding as u8; padding][..]].concat();
    let mut state = *iv;
    padded
        .chunks(16)
        .flat_map(|part| {
            state = encrypt(cipher, xored(&state, part));
            state
        })
        .collect()
}

fn gcm(cipher: &Sm4, nonce: &[u8], text: &[u8], aad: &[u8]) -> Vec<u8> {
    let mut first = [0; 16];
    first[..12].copy_from_slice(nonce);
    first[15] = 1;
    let next = |counter: u128| counter + 1;
    let mut sealed = stream(cipher, text, next(u128::from_be_bytes(first)), next);
    let h = u128::from_be_bytes(encrypt(cipher, [0; 16]));
    let bits = |data: &[u8]| (data.len() as u64 * 8).to_be_bytes();
    let lengths = [bits(aad), bits(text)].concat();
    let mut code = 0;
    for part in [aad, &sealed, &lengths]
        .into_iter()
        .flat_map(|part| part.chunks(16))
    {
        code = by_definition(code ^ u128::from_be_bytes(xored(&[0; 16], part)), h);
    }
    let mask = u128::from_be_bytes(encrypt(cipher, first));
    sealed.extend((code ^ mask).to_be_bytes());
    sealed
}

fn cases(key: &Block) -> Vec<Case> {
    let cipher = Sm4::new(key.into());
    let noise = |seed: usize, length: usize| -> Vec<u8> {
        let block = |i: usize| crate::sm3::digest(&[&key[..], &(seed + i).to_le_bytes()].concat());
        (0..length.div_ceil(32))
            .flat_map(block)
            .take(length)
            .collect()
    };
    (0..MESSAGES)
        .map(|i| {
            let (text, aad) = (noise(i << 8, i * 37 % 97), noise(i << 16, i % 21));
            // Some counters are about to overflow.
            let mut nonce: Block = noise(i << 24, 16).try_into().unwrap();
            if i % 10 == 0 {
                nonce = [0xff; 16];
            }
            Case {
                cbc: cbc(&cipher, &nonce, &text),
                ctr: stream(&cipher, &text, u128::from_be_bytes(nonce), |counter| {
                    counter.wrapping_add(1)
                }),
                gcm: gcm(&cipher, &nonce[..12], &text, &aad),
                nonce,
                text,
                aad,
            }
        })
        .collect()
}

#[test]
fn all_modes_agree_with_another_implementation_in_each_tier() {
    let all: Vec<(Block, Vec<Case>)> = (0..KEYS)
        .map(|i| *crate::sm3::digest(&i.to_be_bytes()).first_chunk().unwrap())
        .map(|key| (key, cases(&key)))
        .collect();
    let _guard = tier::tests::one_at_a_time();
    for tier in tier::available() {
        assert!(tier::force(Some(tier)));
        for (key, cases) in &all {
            agree(key, cases);
        }
    }
    tier::force(None);
}

fn agree(key: &Block, cases: &[Case]) {
    let column = |column: fn(&Case) -> &Vec<u8>| cases.iter().map(column).collect::<Vec<_>>();
    let (texts, cbcs) = (column(|case| &case.text), column(|case| &case.cbc));
    let nonces: Vec<Block> = cases.iter().map(|case| case.nonce).collect();
    let sealed = cbc_encrypt_many(key, &nonces, &texts).unwrap();
    assert!(sealed.iter().eq(cbcs.iter().map(|text| &text[..])));
    let opened = cbc_decrypt_many(key, &nonces, &cbcs).unwrap();
    assert!(opened.iter().eq(texts.iter().map(|text| Some(&text[..]))));
    for case in cases {
        assert_eq!(ctr(key, &case.nonce, &case.text).unwrap(), case.ctr);
    }
    let gcm = GcmKey::new(key).unwrap();
    let messages = |data: fn(&Case) -> &[u8]| -> Vec<Message<'_>> {
        let message = |case| -> Message<'_> {
            let case: &Case = case;
            Message {
                nonce: &case.nonce[..12],
                data: data(case),
                aad: &case.aad,
            }
        };
        cases.iter().map(message).collect()
    };
    let sealed = gcm.seal_texts(&messages(|case| &case.text)).unwrap();
    assert!(sealed.iter().eq(cases.iter().map(|case| &case.gcm[..])));
    let opened = gcm.open_texts(&messages(|case| &case.gcm)).unwrap();
    assert!(opened.iter().eq(texts.iter().map(|text| Some(&text[..]))));
}

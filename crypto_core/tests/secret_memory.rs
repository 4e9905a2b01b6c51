//! Does the portable tier branch on a secret, or read memory at a place that a secret chooses? Valgrind's memcheck says (the idea
//! of ctgrind, Langley 2010): secrets are marked as undefined memory, and each branch or address that depends on one is an error.
//!
//! `python -m tests.evidence memory` runs this under valgrind with `tests/secret_memory.supp`, which lists the few branches that are
//! meant, each with its reason. `planted` must be found. Without valgrind nothing is marked and this does the work only.

#![allow(unsafe_code)] // valgrind is asked by a sequence of instructions that does nothing elsewhere

use crypto_core::sm2::{Order, SigningKey};
use crypto_core::sm3;
use crypto_core::sm4;
use crypto_core::tier::{self, Tier};
use std::hint::black_box;

const MAKE_UNDEFINED: usize = 0x4d43_0001;
const MAKE_DEFINED: usize = 0x4d43_0002;
const RUNNING_ON_VALGRIND: usize = 0x1001;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn ask_valgrind(request: usize, address: usize, length: usize) -> usize {
    let question = [request, address, length, 0, 0, 0];
    let mut answer = 0usize;
    // SAFETY: four rotations that together turn rdi by 128 bits, and rbx exchanged with itself: valgrind.h, VALGRIND_DO_CLIENT_REQUEST.
    unsafe {
        std::arch::asm!(
            "rol rdi, 3", "rol rdi, 13", "rol rdi, 61", "rol rdi, 51", "xchg rbx, rbx",
            in("rax") question.as_ptr(),
            inout("rdx") answer,
            options(nostack)
        );
    }
    answer
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
fn ask_valgrind(_: usize, _: usize, _: usize) -> usize {
    0
}

fn secret(bytes: &mut [u8]) {
    ask_valgrind(MAKE_UNDEFINED, bytes.as_ptr().addr(), bytes.len());
}

fn public(bytes: &[u8]) {
    ask_valgrind(MAKE_DEFINED, bytes.as_ptr().addr(), bytes.len());
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    assert!(tier::force(Some(Tier::Portable)));
    crypto_core::sm2::warm_up();
    println!("valgrind: {}", ask_valgrind(RUNNING_ON_VALGRIND, 0, 0) != 0);
    match arguments.first().map(String::as_str) {
        Some("planted") => planted(),
        _ => work(),
    }
}

fn work() {
    let mut d = sm3::digest(b"a private key");
    d[0] &= 0x7f;
    secret(&mut d);
    let key = SigningKey::from_bytes(&d).unwrap_or_else(|_| std::process::exit(2));
    sign(&key);
    decrypt(&key);
    symmetric();
    println!("done: key from d, signing one and many, decryption, SM4-CBC, SM4-GCM, HMAC-SM3");
}

fn sign(key: &SigningKey) {
    for signature in key.sign_digests(&[[5; 32]; 9]).into_iter().flatten() {
        public(&signature);
        black_box(signature);
    }
    let signature = key.sign_digest(&[6; 32]).unwrap_or([0; 64]);
    public(&signature);
    black_box(signature);
}

fn decrypt(key: &SigningKey) {
    // Sealed for another key that is no secret, and sent to ours: all the work is done before the digest refuses it.
    let mut other = sm3::digest(b"another key");
    other[0] &= 0x7f;
    let other = SigningKey::from_bytes(&other).unwrap_or_else(|_| std::process::exit(2));
    let sealed = other
        .public_key()
        .encrypt(&[9; 40], Order::C1C3C2)
        .unwrap_or_default();
    assert!(key.decrypt(&sealed, Order::C1C3C2).is_err());
}

fn symmetric() {
    let (mut key, mut text) = ([3; 16], [4; 100]);
    secret(&mut key);
    secret(&mut text);
    let sealed = sm4::cbc_encrypt(&key, &[1; 16], &text).unwrap_or_default();
    public(&sealed);
    black_box(sealed);
    let gcm = sm4::GcmKey::new(&key).unwrap_or_else(|_| std::process::exit(2));
    let message = sm4::Message {
        nonce: &[7; 12],
        data: &text,
        aad: b"aad",
    };
    for sealed in gcm.seal_many(&[message]).into_iter().flatten() {
        public(&sealed);
        black_box(sealed);
    }
    let mac = sm3::HmacSm3::new(&key).mac(&[&text]);
    public(&mac);
    black_box(mac);
}

/// The mistake that must be found: a multiplication that skips the zero bits of its secret.
fn planted() {
    let mut d = sm3::digest(b"a private key");
    secret(&mut d);
    let mut sum = 1u64;
    for bit in 0..256 {
        sum = black_box(sum.rotate_left(1));
        if black_box(d[bit / 8] >> (bit % 8) & 1) == 1 {
            sum = black_box(sum.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        }
    }
    println!("done: {}", black_box(sum) != 0);
}

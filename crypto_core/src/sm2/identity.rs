//! Z_A, the digest that binds a signature to the signer's identity and key (GB/T 32918.2, clause 5.5).

use super::words;
use crate::errors::{CryptoError, Result};
use crate::sm3::{self, Sm3};
use std::sync::{Arc, Mutex};

/// The identity everyone uses who was told no other (GM/T 0009).
pub const DEFAULT_IDENTITY: &[u8] = b"1234567812345678";
/// Longest identity in bytes: its length in bits must fit 16 bits.
pub const IDENTITY_LENGTH_MAX: usize = 8191;

/// a ‖ b ‖ x_G ‖ y_G of the recommended curve (GB/T 32918.5, clause 2).
const CURVE: [words::Words; 4] = [
    words::hex("fffffffeffffffffffffffffffffffffffffffff00000000fffffffffffffffc"),
    words::hex("28e9fa9e9d9f5e344d5a9e4bcf6509a7f39789f515ab8f92ddbcbd414d940e93"),
    words::hex("32c4ae2c1f1981195f9904466a39c9948fe30bbff2660be1715a4589334c74c7"),
    words::hex("bc3736a2f4f6779c59bdcee36b692153d0a9877cc62a474002df32e52139f0a0"),
];

/// Identities of one key whose Z_A is kept.
const KEPT: usize = 4;

/// The values Z_A of one key, shared by its clones.
#[derive(Clone, Default)]
pub struct Identities(Arc<Mutex<Vec<Bound>>>);

/// An identity and its Z_A.
type Bound = (Box<[u8]>, [u8; 32]);

impl Identities {
    /// Z_A of `identity` (0 to 8191 bytes) and the key x‖y, computed once.
    pub fn bind(&self, public: &[u8; 64], identity: &[u8]) -> Result<IdentityDigest> {
        if identity.len() > IDENTITY_LENGTH_MAX {
            return Err(CryptoError::length(
                "identity",
                "at most 8191 bytes",
                identity.len(),
            ));
        }
        // Never waits: a lock held across a fork would stay held in the child.
        if let Ok(mut kept) = self.0.try_lock() {
            if let Some((_, z_a)) = kept.iter().find(|(known, _)| **known == *identity) {
                return Ok(IdentityDigest(*z_a));
            }
            let z_a = z_a(public, identity);
            if kept.len() == KEPT {
                kept.remove(0);
            }
            kept.push((identity.into(), z_a));
            return Ok(IdentityDigest(z_a));
        }
        Ok(IdentityDigest(z_a(public, identity)))
    }
}

fn z_a(public: &[u8; 64], identity: &[u8]) -> [u8; 32] {
    let bit_length = (identity.len() * 8) as u16;
    let mut sm3 = Sm3::new();
    sm3.update(&bit_length.to_be_bytes());
    sm3.update(identity);
    CURVE
        .iter()
        .for_each(|part| sm3.update(&words::to_bytes(part)));
    sm3.update(public);
    sm3.finish()
}

/// Z_A of one key and identity, ready for messages.
pub struct IdentityDigest([u8; 32]);

impl IdentityDigest {
    /// e = SM3(Z_A ‖ message), 32 bytes.
    pub fn digest(&self, message: &[u8]) -> [u8; 32] {
        let mut sm3 = self.start();
        sm3.update(message);
        sm3.finish()
    }

    fn start(&self) -> Sm3 {
        let mut sm3 = Sm3::new();
        sm3.update(&self.0);
        sm3
    }

    /// e of each message, in order.
    pub fn digests<M: AsRef<[u8]>>(&self, messages: &[M]) -> Vec<[u8; 32]> {
        sm3::finish_many(&self.start(), messages)
    }
}

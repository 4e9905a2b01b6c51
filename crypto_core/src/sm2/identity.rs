//! Z_A, the digest that binds a signature to the signer's identity and key (GB/T 32918.2, clause 5.5).

use super::verifying::VerifyKey;
use crate::errors::{CryptoError, Result};
use crate::sm3::Sm3;

/// The identity everyone uses who was told no other (GM/T 0009).
pub const DEFAULT_IDENTITY: &[u8] = b"1234567812345678";
/// Longest identity in bytes: its length in bits must fit 16 bits.
pub const IDENTITY_LENGTH_MAX: usize = 8191;

/// a ‖ b ‖ x_G ‖ y_G of the recommended curve (GB/T 32918.5, clause 2).
const CURVE: [[u8; 32]; 4] = [
    hex("fffffffeffffffffffffffffffffffffffffffff00000000fffffffffffffffc"),
    hex("28e9fa9e9d9f5e344d5a9e4bcf6509a7f39789f515ab8f92ddbcbd414d940e93"),
    hex("32c4ae2c1f1981195f9904466a39c9948fe30bbff2660be1715a4589334c74c7"),
    hex("bc3736a2f4f6779c59bdcee36b692153d0a9877cc62a474002df32e52139f0a0"),
];

const fn hex(text: &str) -> [u8; 32] {
    const fn digit(byte: u8) -> u8 {
        if byte <= b'9' {
            byte - b'0'
        } else {
            byte - b'a' + 10
        }
    }
    let text = text.as_bytes();
    let mut bytes = [0; 32];
    let mut i = 0;
    while i < 32 {
        bytes[i] = digit(text[2 * i]) * 16 + digit(text[2 * i + 1]);
        i += 1;
    }
    bytes
}

/// A digest that has taken in Z_A and waits for the message; one per key, identity and batch.
pub struct IdentityDigest(Sm3);

impl IdentityDigest {
    /// Prepare Z_A. `identity` holds 0 to 8191 bytes.
    pub fn new(key: &VerifyKey, identity: &[u8]) -> Result<Self> {
        if identity.len() > IDENTITY_LENGTH_MAX {
            return Err(CryptoError::length(
                "identity",
                "at most 8191 bytes",
                identity.len(),
            ));
        }
        let bit_length = (identity.len() * 8) as u16;
        let mut z_a = Sm3::new();
        z_a.update(&bit_length.to_be_bytes());
        z_a.update(identity);
        CURVE.iter().for_each(|part| z_a.update(part));
        z_a.update(&key.to_bytes()[1..]);
        let mut prefix = Sm3::new();
        prefix.update(&z_a.finish());
        Ok(Self(prefix))
    }

    /// e = SM3(Z_A ‖ message), 32 bytes.
    pub fn digest(&self, message: &[u8]) -> [u8; 32] {
        let mut sm3 = self.0.clone();
        sm3.update(message);
        sm3.finish()
    }
}

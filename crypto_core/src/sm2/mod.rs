//! SM2 signatures on the recommended 256-bit curve.
//!
//! Source: GB/T 32918.1/.2/.5; identity and raw r‖s form as in GM/T 0009. Field and scalar arithmetic come from the
//! `sm2` crate (fiat-crypto field code, complete addition formulas), both written to run in constant time.

mod comb;
mod identity;
mod nonce;
mod signing;
mod verifying;

pub use identity::{DEFAULT_IDENTITY, IDENTITY_LENGTH_MAX};
pub use signing::SigningKey;
pub use verifying::VerifyKey;

use ::sm2::elliptic_curve::ops::Reduce;
use ::sm2::{FieldBytes, Scalar, U256};

/// Length of a raw signature r‖s.
pub const SIGNATURE_LENGTH: usize = 64;

/// Signatures or verifications that share one inversion.
const CHUNK: usize = 64;

/// A 256-bit big-endian number modulo n.
fn reduce(bytes: &[u8; 32]) -> Scalar {
    <Scalar as Reduce<U256>>::reduce_bytes(FieldBytes::from_slice(bytes))
}

//! The algorithms that banks outside the SM suite ask for: Ed25519, ECDSA P-256, RSA, AES-256-GCM, SHA-2, HMAC, PBKDF2.
//!
//! All of it is AWS-LC, through its own Rust crate; this module only gives it the crate's manners: batches, one error for
//! all causes, lengths checked before the work.

mod cipher;
mod digests;
mod signatures;

pub use cipher::Aes256Gcm;
pub use digests::{Sha2, pbkdf2};
pub use signatures::{Algorithm, SigningKey, VerifyKey};

//! SM2, SM3, SM4 and the check digits of bank identifiers.
//!
//! Every module but `python` is plain Rust and tested without an interpreter. The binding layer only converts types,
//! releases the interpreter lock and maps [`errors::CryptoError`] to exceptions.

#[forbid(unsafe_code)]
pub mod envelope;
#[forbid(unsafe_code)]
pub mod errors;
#[forbid(unsafe_code)]
pub mod general;
#[forbid(unsafe_code)]
pub mod identifiers;
#[forbid(unsafe_code)]
pub mod keystore;
pub mod memory;
#[forbid(unsafe_code)]
pub mod random;
pub mod signer;
pub mod sm2;
pub mod sm3;
pub mod sm4;
#[forbid(unsafe_code)]
pub mod texts;
#[forbid(unsafe_code)]
pub mod threads;
#[forbid(unsafe_code)]
pub mod tier;

#[cfg(feature = "python")]
mod python;

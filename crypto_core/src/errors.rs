//! The one error type of the crate; the binding layer turns each kind into one Python exception.

use std::fmt;

/// What went wrong. The text says what was expected and never contains secret bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CryptoError {
    /// The signature does not belong to this message, key and identity, or is malformed.
    InvalidSignature,
    /// Key bytes of the right length that are no key: out of range, off the curve, undecodable.
    InvalidKey(String),
    /// Wrong password, wrong key or damaged ciphertext. One error for all causes, so that no caller becomes an oracle.
    DecryptionFailed,
    /// An argument of the wrong length.
    InvalidLength(String),
    /// An algorithm by a name that is not known here.
    UnknownAlgorithm(String),
    /// A sum that does not fit 64 signed bits.
    Overflow(String),
    /// The operating system gave no random bytes.
    NoEntropy,
    /// The module that holds a signing key; the text never holds its PIN.
    Device(DeviceFault, String),
}

/// What a signing device said, or failed to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceFault {
    /// No library, no device, no token, or the line to it is broken. Nothing was signed; later may work.
    Away,
    /// The PIN is wrong or locked. It is not tried again: a device counts.
    WrongPin,
    /// No key, more than one, or one of another kind.
    KeyNotFound,
    /// No answer in time; the device may still be working.
    TimedOut,
    /// The device refused, or gave a signature that does not verify.
    Failed,
}

impl CryptoError {
    /// An `InvalidLength` in the crate's common words.
    pub fn length(what: &str, expected: &str, actual: usize) -> Self {
        Self::InvalidLength(format!("{what}: {expected} expected, got {actual}"))
    }
}

impl fmt::Display for CryptoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidSignature => {
                f.write_str("signature does not match message, key and identity")
            }
            Self::DecryptionFailed => {
                f.write_str("decryption failed: wrong key or password, or damaged ciphertext")
            }
            Self::NoEntropy => f.write_str(
                "the operating system gave no random bytes; nothing was signed or generated",
            ),
            Self::InvalidKey(text)
            | Self::InvalidLength(text)
            | Self::UnknownAlgorithm(text)
            | Self::Overflow(text)
            | Self::Device(_, text) => f.write_str(text),
        }
    }
}

impl std::error::Error for CryptoError {}

/// Result of everything in this crate that can fail.
pub type Result<T> = std::result::Result<T, CryptoError>;

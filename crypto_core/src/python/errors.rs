//! One Rust error, one Python exception.

use crate::errors::CryptoError;
use pyo3::exceptions::{PyOSError, PyOverflowError};
use pyo3::prelude::*;

/// The exception classes live in Python, where `InvalidLength` can have two bases.
mod classes {
    pyo3::import_exception!(yinqi.crypto.errors, DecryptionFailed);
    pyo3::import_exception!(yinqi.crypto.errors, InvalidKey);
    pyo3::import_exception!(yinqi.crypto.errors, InvalidLength);
    pyo3::import_exception!(yinqi.crypto.errors, InvalidSignature);
    pyo3::import_exception!(yinqi.crypto.errors, UnknownAlgorithm);
}

impl From<CryptoError> for PyErr {
    fn from(error: CryptoError) -> Self {
        let text = error.to_string();
        match error {
            CryptoError::InvalidSignature => classes::InvalidSignature::new_err(text),
            CryptoError::InvalidKey(_) => classes::InvalidKey::new_err(text),
            CryptoError::DecryptionFailed => classes::DecryptionFailed::new_err(text),
            CryptoError::InvalidLength(_) => classes::InvalidLength::new_err(text),
            CryptoError::UnknownAlgorithm(_) => classes::UnknownAlgorithm::new_err(text),
            CryptoError::Overflow(_) => PyOverflowError::new_err(text),
            CryptoError::NoEntropy => PyOSError::new_err(text),
        }
    }
}

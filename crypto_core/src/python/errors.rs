//! One Rust error, one Python exception.

use crate::errors::{CryptoError, DeviceFault};
use pyo3::exceptions::{PyOSError, PyOverflowError};
use pyo3::prelude::*;

/// The exception classes live in Python, where `InvalidLength` can have two bases.
mod classes {
    pyo3::import_exception!(yinqi.crypto.errors, DecryptionFailed);
    pyo3::import_exception!(yinqi.crypto.errors, DeviceFailed);
    pyo3::import_exception!(yinqi.crypto.errors, DeviceTimedOut);
    pyo3::import_exception!(yinqi.crypto.errors, DeviceUnavailable);
    pyo3::import_exception!(yinqi.crypto.errors, InvalidKey);
    pyo3::import_exception!(yinqi.crypto.errors, InvalidLength);
    pyo3::import_exception!(yinqi.crypto.errors, InvalidSignature);
    pyo3::import_exception!(yinqi.crypto.errors, KeyNotFound);
    pyo3::import_exception!(yinqi.crypto.errors, UnknownAlgorithm);
    pyo3::import_exception!(yinqi.crypto.errors, WrongPin);
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
            CryptoError::Device(DeviceFault::Away, _) => classes::DeviceUnavailable::new_err(text),
            CryptoError::Device(DeviceFault::WrongPin, _) => classes::WrongPin::new_err(text),
            CryptoError::Device(DeviceFault::KeyNotFound, _) => classes::KeyNotFound::new_err(text),
            CryptoError::Device(DeviceFault::TimedOut, _) => classes::DeviceTimedOut::new_err(text),
            CryptoError::Device(DeviceFault::Failed, _) => classes::DeviceFailed::new_err(text),
            CryptoError::NoEntropy => PyOSError::new_err(text),
        }
    }
}

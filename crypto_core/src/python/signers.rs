//! The one interface to signing keys: in memory, in a PKCS#11 token, in an SDF device.

use super::arguments::{bytes_list, bytes_of};
use super::keys::SigningKey;
use crate::signer::{self, TokenKey};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyList};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

// The signatures below repeat the number, so that Python's help shows it.
const _: () = assert!(signer::TIMEOUT_DEFAULT.as_millis() == 10_000);

fn secret(pin: &PyBackedBytes) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(pin.to_vec())
}

#[pyclass(frozen, module = "yinqi.crypto")]
pub struct Signer(signer::Signer);

#[pymethods]
impl Signer {
    #[staticmethod]
    #[pyo3(signature = (key, key_id = None))]
    fn from_key(key: &SigningKey, key_id: Option<String>) -> PyResult<Self> {
        Ok(Self(signer::Signer::from_sm2(Arc::clone(&key.0), key_id)?))
    }

    #[staticmethod]
    #[pyo3(signature = (algorithm, data, password = None, key_id = None))]
    fn from_pkcs8(
        py: Python<'_>,
        algorithm: &str,
        data: PyBackedBytes,
        password: Option<PyBackedBytes>,
        key_id: Option<String>,
    ) -> PyResult<Self> {
        Ok(Self(py.detach(|| {
            signer::Signer::from_pkcs8(algorithm, &data, password.as_deref(), key_id)
        })?))
    }

    #[staticmethod]
    #[pyo3(signature = (algorithm, *, module, token, pin, label = None, id = None, timeout_ms = 10_000))]
    #[allow(clippy::too_many_arguments)] // named in Python, all of them
    fn open_pkcs11(
        py: Python<'_>,
        algorithm: &str,
        module: PathBuf,
        token: String,
        pin: PyBackedBytes,
        label: Option<String>,
        id: Option<PyBackedBytes>,
        timeout_ms: u64,
    ) -> PyResult<Self> {
        let key = TokenKey {
            module,
            token,
            label,
            id: id.map(|id| id.to_vec()),
            pin: secret(&pin),
        };
        let timeout = Duration::from_millis(timeout_ms);
        Ok(Self(py.detach(|| {
            signer::Signer::open_pkcs11(key, algorithm, timeout)
        })?))
    }

    #[staticmethod]
    #[pyo3(signature = (*, library, key_index, pin, timeout_ms = 10_000))]
    fn open_sdf(
        py: Python<'_>,
        library: PathBuf,
        key_index: u32,
        pin: PyBackedBytes,
        timeout_ms: u64,
    ) -> PyResult<Self> {
        let (pin, timeout) = (secret(&pin), Duration::from_millis(timeout_ms));
        Ok(Self(py.detach(|| {
            signer::Signer::open_sdf(library, key_index, pin, timeout)
        })?))
    }

    #[getter]
    fn algorithm(&self) -> &'static str {
        self.0.algorithm()
    }

    #[getter]
    fn backend(&self) -> &'static str {
        self.0.backend()
    }

    #[getter]
    fn key_id(&self) -> &str {
        self.0.key_id()
    }

    fn public_key<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, &self.0.public_key().to_der()?))
    }

    #[pyo3(signature = (message, identity = None))]
    fn sign<'py>(
        &self,
        py: Python<'py>,
        message: PyBackedBytes,
        identity: Option<PyBackedBytes>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let signatures = py.detach(|| self.0.sign_many(&[message], identity.as_deref()))?;
        Ok(PyBytes::new(py, &signatures.concat()))
    }

    #[pyo3(signature = (messages, identity = None))]
    fn sign_many<'py>(
        &self,
        py: Python<'py>,
        messages: &Bound<'py, PyList>,
        identity: Option<PyBackedBytes>,
    ) -> PyResult<Bound<'py, PyList>> {
        let messages = messages.to_tuple();
        let messages = bytes_of("messages", &messages)?;
        let signatures = py.detach(|| self.0.sign_many(&messages, identity.as_deref()))?;
        bytes_list(py, &signatures)
    }

    fn sign_digests<'py>(
        &self,
        py: Python<'py>,
        digests: &Bound<'py, PyList>,
    ) -> PyResult<Bound<'py, PyList>> {
        let digests = digests.to_tuple();
        let digests = bytes_of("digests", &digests)?;
        let signatures = py.detach(|| self.0.sign_digests(&digests))?;
        bytes_list(py, &signatures)
    }

    fn __repr__(&self) -> String {
        let (algorithm, backend, id) = (self.0.algorithm(), self.0.backend(), self.0.key_id());
        format!("<Signer {algorithm} {backend} {id}>")
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err(
            "a signer cannot be pickled or copied; open the key again where it is needed",
        ))
    }
}

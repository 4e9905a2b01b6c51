//! Key handles. Frozen, without pickle; a printed private key shows its public part only.

use super::arguments::list_of_bytes;
use crate::keystore;
use crate::sm2;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyList};

// The signature below repeats the number, so that Python's help shows it.
const _: () = assert!(keystore::ITERATIONS_DEFAULT == 600_000);

fn identity_or_default(identity: &Option<PyBackedBytes>) -> &[u8] {
    identity.as_deref().unwrap_or(sm2::DEFAULT_IDENTITY)
}

#[pyclass(frozen, module = "yinqi.crypto")]
pub struct SigningKey(sm2::SigningKey);

#[pymethods]
impl SigningKey {
    #[staticmethod]
    fn generate(py: Python<'_>) -> PyResult<Self> {
        Ok(Self(py.detach(sm2::SigningKey::generate)?))
    }

    #[staticmethod]
    fn from_bytes(py: Python<'_>, d: PyBackedBytes) -> PyResult<Self> {
        Ok(Self(py.detach(|| sm2::SigningKey::from_bytes(&d))?))
    }

    #[staticmethod]
    fn from_encrypted_pem(
        py: Python<'_>,
        pem: PyBackedBytes,
        password: PyBackedBytes,
    ) -> PyResult<Self> {
        Ok(Self(py.detach(|| {
            keystore::from_encrypted_pem(&pem, &password)
        })?))
    }

    #[pyo3(signature = (password, iterations = 600_000))]
    fn to_encrypted_pem<'py>(
        &self,
        py: Python<'py>,
        password: PyBackedBytes,
        iterations: u32,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let pem = py.detach(|| keystore::to_encrypted_pem(&self.0, &password, iterations))?;
        Ok(PyBytes::new(py, pem.as_bytes()))
    }

    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.to_bytes().as_ref())
    }

    fn public_key(&self) -> VerifyKey {
        VerifyKey(self.0.public_key().clone())
    }

    #[pyo3(signature = (message, identity = None))]
    fn sign<'py>(
        &self,
        py: Python<'py>,
        message: PyBackedBytes,
        identity: Option<PyBackedBytes>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let signature = py.detach(|| self.0.sign(&message, identity_or_default(&identity)))?;
        Ok(PyBytes::new(py, &signature))
    }

    #[pyo3(signature = (messages, identity = None))]
    fn sign_many<'py>(
        &self,
        py: Python<'py>,
        messages: &Bound<'py, PyList>,
        identity: Option<PyBackedBytes>,
    ) -> PyResult<Bound<'py, PyList>> {
        let messages = list_of_bytes("messages", messages)?;
        let signatures =
            py.detach(|| self.0.sign_many(&messages, identity_or_default(&identity)))?;
        PyList::new(
            py,
            signatures
                .iter()
                .map(|signature| PyBytes::new(py, signature)),
        )
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err(
            "a private key cannot be pickled or copied; use to_encrypted_pem",
        ))
    }
}

#[pyclass(frozen, module = "yinqi.crypto")]
pub struct VerifyKey(sm2::VerifyKey);

#[pymethods]
impl VerifyKey {
    #[staticmethod]
    fn from_bytes(py: Python<'_>, data: PyBackedBytes) -> PyResult<Self> {
        Ok(Self(py.detach(|| sm2::VerifyKey::from_bytes(&data))?))
    }

    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.to_bytes())
    }

    #[pyo3(signature = (message, signature, identity = None))]
    fn verify(
        &self,
        py: Python<'_>,
        message: PyBackedBytes,
        signature: PyBackedBytes,
        identity: Option<PyBackedBytes>,
    ) -> PyResult<()> {
        Ok(py.detach(|| {
            self.0
                .verify(&message, &signature, identity_or_default(&identity))
        })?)
    }

    #[pyo3(signature = (messages, signatures, identity = None))]
    fn verify_many(
        &self,
        py: Python<'_>,
        messages: &Bound<'_, PyList>,
        signatures: &Bound<'_, PyList>,
        identity: Option<PyBackedBytes>,
    ) -> PyResult<Vec<bool>> {
        let messages = list_of_bytes("messages", messages)?;
        let signatures = list_of_bytes("signatures", signatures)?;
        Ok(py.detach(|| {
            self.0
                .verify_many(&messages, &signatures, identity_or_default(&identity))
        })?)
    }
}

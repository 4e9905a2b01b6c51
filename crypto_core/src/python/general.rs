//! Handles of Ed25519, ECDSA and RSA keys. Frozen, without pickle.

use super::arguments::{bytes_list, bytes_of};
use crate::general::{self, Algorithm};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyList};

#[pyclass(frozen, module = "yinqi.crypto")]
pub struct GeneralSigningKey(general::SigningKey);

#[pymethods]
impl GeneralSigningKey {
    #[staticmethod]
    fn generate(py: Python<'_>, algorithm: &str) -> PyResult<Self> {
        let algorithm = Algorithm::from_name(algorithm)?;
        Ok(Self(
            py.detach(|| general::SigningKey::generate(algorithm))?,
        ))
    }

    #[staticmethod]
    fn from_pkcs8(py: Python<'_>, algorithm: &str, der: PyBackedBytes) -> PyResult<Self> {
        let algorithm = Algorithm::from_name(algorithm)?;
        let key = py.detach(|| general::SigningKey::from_pkcs8(algorithm, &der))?;
        Ok(Self(key))
    }

    fn to_pkcs8<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, &self.0.to_pkcs8()?))
    }

    fn public_key(&self) -> PyResult<GeneralVerifyKey> {
        Ok(GeneralVerifyKey(self.0.public_key()?))
    }

    fn sign<'py>(&self, py: Python<'py>, message: PyBackedBytes) -> PyResult<Bound<'py, PyBytes>> {
        let signature = py.detach(|| self.0.sign(&message))?;
        Ok(PyBytes::new(py, &signature))
    }

    fn sign_many<'py>(
        &self,
        py: Python<'py>,
        messages: &Bound<'py, PyList>,
    ) -> PyResult<Bound<'py, PyList>> {
        let messages = messages.to_tuple();
        let messages = bytes_of("messages", &messages)?;
        let signatures = py.detach(|| self.0.sign_many(&messages))?;
        bytes_list(py, &signatures)
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err(
            "a private key cannot be pickled or copied; use to_pkcs8",
        ))
    }
}

#[pyclass(frozen, module = "yinqi.crypto")]
pub struct GeneralVerifyKey(general::VerifyKey);

#[pymethods]
impl GeneralVerifyKey {
    #[staticmethod]
    fn from_bytes(py: Python<'_>, algorithm: &str, data: PyBackedBytes) -> PyResult<Self> {
        let algorithm = Algorithm::from_name(algorithm)?;
        let key = py.detach(|| general::VerifyKey::from_bytes(algorithm, &data))?;
        Ok(Self(key))
    }

    fn to_der<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, &self.0.to_der()?))
    }

    fn verify(
        &self,
        py: Python<'_>,
        message: PyBackedBytes,
        signature: PyBackedBytes,
    ) -> PyResult<()> {
        Ok(py.detach(|| self.0.verify(&message, &signature))?)
    }

    fn verify_many(
        &self,
        py: Python<'_>,
        messages: &Bound<'_, PyList>,
        signatures: &Bound<'_, PyList>,
    ) -> PyResult<Vec<bool>> {
        let messages = messages.to_tuple();
        let messages = bytes_of("messages", &messages)?;
        let signatures = signatures.to_tuple();
        let signatures = bytes_of("signatures", &signatures)?;
        Ok(py.detach(|| self.0.verify_many(&messages, &signatures))?)
    }
}

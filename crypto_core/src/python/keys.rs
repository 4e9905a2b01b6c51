//! Key handles. Frozen, without pickle; a printed private key shows its public part only.

use super::arguments::{
    Offsets, array_of_32, bytes_list, bytes_of, list_of_digests, order_of, slices,
};
use crate::errors::CryptoError;
use crate::keystore::{self, LockedKey, Suite};
use crate::memory::Locked;
use crate::sm2;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyList};
use std::sync::Arc;

// The signature below repeats the number, so that Python's help shows it.
const _: () = assert!(keystore::ITERATIONS_DEFAULT == 600_000);

fn identity_or_default(identity: &Option<PyBackedBytes>) -> &[u8] {
    identity.as_deref().unwrap_or(sm2::DEFAULT_IDENTITY)
}

#[pyclass(frozen, module = "yinqi.crypto")]
pub struct SigningKey(pub Arc<LockedKey>);

#[pymethods]
impl SigningKey {
    #[staticmethod]
    fn generate(py: Python<'_>) -> PyResult<Self> {
        let key = py.detach(|| sm2::SigningKey::generate().map(Locked::new))?;
        Ok(Self(Arc::new(key)))
    }

    #[staticmethod]
    fn from_bytes(py: Python<'_>, d: PyBackedBytes) -> PyResult<Self> {
        let key = py.detach(|| sm2::SigningKey::from_bytes(&d).map(Locked::new))?;
        Ok(Self(Arc::new(key)))
    }

    #[staticmethod]
    fn from_encrypted_pem(
        py: Python<'_>,
        pem: PyBackedBytes,
        password: PyBackedBytes,
    ) -> PyResult<Self> {
        let key = py.detach(|| keystore::from_encrypted_pem(&pem, &password))?;
        Ok(Self(Arc::new(key)))
    }

    #[staticmethod]
    #[pyo3(signature = (data, password = None))]
    fn from_pkcs8(
        py: Python<'_>,
        data: PyBackedBytes,
        password: Option<PyBackedBytes>,
    ) -> PyResult<Self> {
        let key = py.detach(|| keystore::read_private_key(&data, password.as_deref()))?;
        Ok(Self(Arc::new(key)))
    }

    fn to_pkcs8<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, &keystore::to_pkcs8(&self.0)?))
    }

    #[getter]
    fn is_memory_locked(&self) -> bool {
        self.0.is_locked()
    }

    #[pyo3(signature = (password, iterations = 600_000, cipher = "sm4-cbc"))]
    fn to_encrypted_pem<'py>(
        &self,
        py: Python<'py>,
        password: PyBackedBytes,
        iterations: u32,
        cipher: &str,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let suite = Suite::from_name(cipher)?;
        let pem =
            py.detach(|| keystore::to_encrypted_pem(&self.0, &password, iterations, suite))?;
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
        let messages = messages.to_tuple();
        let messages = bytes_of("messages", &messages)?;
        let signatures =
            py.detach(|| self.0.sign_many(&messages, identity_or_default(&identity)))?;
        bytes_list(py, &signatures)
    }

    fn sign_digest<'py>(
        &self,
        py: Python<'py>,
        digest: PyBackedBytes,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let digest = array_of_32("digest", &digest)?;
        let signature = py.detach(|| self.0.sign_digest(&digest))?;
        Ok(PyBytes::new(py, &signature))
    }

    fn sign_digests<'py>(
        &self,
        py: Python<'py>,
        digests: &Bound<'py, PyList>,
    ) -> PyResult<Bound<'py, PyList>> {
        let digests = list_of_digests("digests", digests)?;
        let signatures = py.detach(|| self.0.sign_digests(&digests))?;
        bytes_list(py, &signatures)
    }

    #[pyo3(signature = (data, offsets, identity = None))]
    fn sign_buffer<'py>(
        &self,
        py: Python<'py>,
        data: PyBackedBytes,
        offsets: Offsets,
        identity: Option<PyBackedBytes>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let messages = slices(&data, &offsets)?;
        let signatures =
            py.detach(|| self.0.sign_many(&messages, identity_or_default(&identity)))?;
        Ok(PyBytes::new(py, signatures.as_flattened()))
    }

    #[pyo3(signature = (ciphertext, order = "C1C3C2"))]
    fn decrypt<'py>(
        &self,
        py: Python<'py>,
        ciphertext: PyBackedBytes,
        order: &str,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let order = order_of(order)?;
        let plaintext = py.detach(|| self.0.decrypt(&ciphertext, order))?;
        Ok(PyBytes::new(py, &plaintext))
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err(
            "a private key cannot be pickled or copied; use to_encrypted_pem",
        ))
    }
}

#[pyclass(frozen, subclass, module = "yinqi.crypto")]
pub struct VerifyKey(sm2::VerifyKey);

/// The same key with a table of its own.
#[pyclass(frozen, extends = VerifyKey, module = "yinqi.crypto")]
pub struct PreparedVerifyKey;

#[pymethods]
impl VerifyKey {
    #[staticmethod]
    fn from_bytes(py: Python<'_>, data: PyBackedBytes) -> PyResult<Self> {
        Ok(Self(py.detach(|| sm2::VerifyKey::from_bytes(&data))?))
    }

    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.to_bytes())
    }

    #[staticmethod]
    fn from_spki(py: Python<'_>, data: PyBackedBytes) -> PyResult<Self> {
        Ok(Self(py.detach(|| keystore::read_public_key(&data))?))
    }

    fn to_der<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, &keystore::public_key_to_der(&self.0)?))
    }

    fn to_pem<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let pem = keystore::public_key_to_pem(&self.0)?;
        Ok(PyBytes::new(py, pem.as_bytes()))
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
        let messages = messages.to_tuple();
        let messages = bytes_of("messages", &messages)?;
        let signatures = signatures.to_tuple();
        let signatures = bytes_of("signatures", &signatures)?;
        Ok(py.detach(|| {
            self.0
                .verify_many(&messages, &signatures, identity_or_default(&identity))
        })?)
    }

    fn verify_digest(
        &self,
        py: Python<'_>,
        digest: PyBackedBytes,
        signature: PyBackedBytes,
    ) -> PyResult<()> {
        let digest = array_of_32("digest", &digest)?;
        Ok(py.detach(|| self.0.verify_digest(&digest, &signature))?)
    }

    fn verify_digests(
        &self,
        py: Python<'_>,
        digests: &Bound<'_, PyList>,
        signatures: &Bound<'_, PyList>,
    ) -> PyResult<Vec<bool>> {
        let digests = list_of_digests("digests", digests)?;
        let signatures = signatures.to_tuple();
        let signatures = bytes_of("signatures", &signatures)?;
        Ok(py.detach(|| self.0.verify_digests(&digests, &signatures))?)
    }

    #[pyo3(signature = (data, offsets, signatures, identity = None))]
    fn verify_buffer<'py>(
        &self,
        py: Python<'py>,
        data: PyBackedBytes,
        offsets: Offsets,
        signatures: PyBackedBytes,
        identity: Option<PyBackedBytes>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let messages = slices(&data, &offsets)?;
        let (signatures, rest) = signatures.as_chunks::<{ sm2::SIGNATURE_LENGTH }>();
        if !rest.is_empty() {
            return Err(CryptoError::InvalidLength(
                "signatures: a multiple of 64 bytes expected".into(),
            )
            .into());
        }
        let identity = identity_or_default(&identity);
        let verdicts = py.detach(|| self.0.verify_many(&messages, signatures, identity))?;
        let verdicts: Vec<u8> = verdicts.into_iter().map(u8::from).collect();
        Ok(PyBytes::new(py, &verdicts))
    }

    fn prepare(&self, py: Python<'_>) -> PyResult<Py<PreparedVerifyKey>> {
        let prepared = py.detach(|| self.0.prepare());
        Py::new(py, (PreparedVerifyKey, VerifyKey(prepared)))
    }

    #[pyo3(signature = (plaintext, order = "C1C3C2"))]
    fn encrypt<'py>(
        &self,
        py: Python<'py>,
        plaintext: PyBackedBytes,
        order: &str,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let order = order_of(order)?;
        let sealed = py.detach(|| self.0.encrypt(&plaintext, order))?;
        Ok(PyBytes::new(py, &sealed))
    }
}

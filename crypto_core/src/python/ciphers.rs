//! SM4-CBC.

use crate::sm4;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

#[pyfunction]
pub fn sm4_cbc_encrypt<'py>(
    py: Python<'py>,
    key: PyBackedBytes,
    iv: PyBackedBytes,
    plaintext: PyBackedBytes,
) -> PyResult<Bound<'py, PyBytes>> {
    let sealed = py.detach(|| sm4::cbc_encrypt(&key, &iv, &plaintext))?;
    Ok(PyBytes::new(py, &sealed))
}

#[pyfunction]
pub fn sm4_cbc_decrypt<'py>(
    py: Python<'py>,
    key: PyBackedBytes,
    iv: PyBackedBytes,
    ciphertext: PyBackedBytes,
) -> PyResult<Bound<'py, PyBytes>> {
    let plain = py.detach(|| sm4::cbc_decrypt(&key, &iv, &ciphertext))?;
    Ok(PyBytes::new(py, &plain))
}

//! Threads of batches, and the two forms of signatures and ciphertexts.

use crate::sm2;
use crate::threads;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

#[pyfunction]
#[pyo3(signature = (count))]
pub fn set_threads(count: Option<usize>) -> PyResult<()> {
    if count == Some(0) {
        return Err(PyValueError::new_err(
            "count: at least 1 thread, or None for as many as the system grants",
        ));
    }
    threads::set_limit(count.unwrap_or(0));
    Ok(())
}

#[pyfunction]
pub fn signature_to_der<'py>(
    py: Python<'py>,
    signature: PyBackedBytes,
) -> PyResult<Bound<'py, PyBytes>> {
    Ok(PyBytes::new(py, &sm2::to_der(&signature)?))
}

#[pyfunction]
pub fn signature_from_der<'py>(
    py: Python<'py>,
    der: PyBackedBytes,
) -> PyResult<Bound<'py, PyBytes>> {
    Ok(PyBytes::new(py, &sm2::from_der(&der)?))
}

#[pyfunction]
pub fn ciphertext_to_der<'py>(
    py: Python<'py>,
    ciphertext: PyBackedBytes,
) -> PyResult<Bound<'py, PyBytes>> {
    Ok(PyBytes::new(py, &sm2::ciphertext_to_der(&ciphertext)?))
}

#[pyfunction]
pub fn ciphertext_from_der<'py>(
    py: Python<'py>,
    der: PyBackedBytes,
) -> PyResult<Bound<'py, PyBytes>> {
    Ok(PyBytes::new(py, &sm2::ciphertext_from_der(&der)?))
}

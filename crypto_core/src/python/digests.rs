//! SM3 and HMAC-SM3.

use super::arguments::list_of_bytes;
use crate::sm3::{self as core, HmacSm3};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyList};

/// Below this many bytes the work is shorter than giving up and taking back the interpreter lock.
const DETACH_BYTES: usize = 1024;

#[pyfunction]
pub fn sm3<'py>(py: Python<'py>, data: PyBackedBytes) -> Bound<'py, PyBytes> {
    let digest = if data.len() < DETACH_BYTES {
        core::digest(&data)
    } else {
        py.detach(|| core::digest(&data))
    };
    PyBytes::new(py, &digest)
}

#[pyfunction]
pub fn sm3_many<'py>(py: Python<'py>, data: &Bound<'py, PyList>) -> PyResult<Bound<'py, PyList>> {
    let items = list_of_bytes("data", data)?;
    let digests: Vec<_> = py.detach(|| items.iter().map(|item| core::digest(item)).collect());
    PyList::new(py, digests.iter().map(|digest| PyBytes::new(py, digest)))
}

#[pyfunction]
pub fn hmac_sm3<'py>(
    py: Python<'py>,
    key: PyBackedBytes,
    data: PyBackedBytes,
) -> Bound<'py, PyBytes> {
    let code = py.detach(|| HmacSm3::new(&key).mac(&[&data]));
    PyBytes::new(py, &code)
}

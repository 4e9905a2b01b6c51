//! SM3, SHA-2, their codes and derivations, and CRC32C.

use super::arguments::{Offsets, bytes_list, bytes_of, slices};
use crate::general::{self, Sha2};
use crate::sm3::{self as core, HmacSm3};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyList};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Below this many bytes the work is shorter than giving up and taking back the interpreter lock.
const DETACH_BYTES: usize = 1024;

fn detached<T: Send>(py: Python<'_>, length: usize, work: impl FnOnce() -> T + Send) -> T {
    if length < DETACH_BYTES {
        work()
    } else {
        py.detach(work)
    }
}

#[pyfunction]
pub fn sm3<'py>(py: Python<'py>, data: PyBackedBytes) -> Bound<'py, PyBytes> {
    PyBytes::new(py, &detached(py, data.len(), || core::digest(&data)))
}

#[pyfunction]
pub fn sm3_many<'py>(py: Python<'py>, data: &Bound<'py, PyList>) -> PyResult<Bound<'py, PyList>> {
    let items = data.to_tuple();
    let items = bytes_of("data", &items)?;
    let digests = py.detach(|| core::digest_many(&items));
    bytes_list(py, &digests)
}

#[pyfunction]
pub fn sm3_buffer<'py>(
    py: Python<'py>,
    data: PyBackedBytes,
    offsets: Offsets,
) -> PyResult<Bound<'py, PyBytes>> {
    let items = slices(&data, &offsets)?;
    let digests = py.detach(|| core::digest_many(&items));
    Ok(PyBytes::new(py, digests.as_flattened()))
}

/// A running digest. The lock is held for one call only; two threads feeding one digest is the caller's mistake.
#[pyclass(frozen, module = "yinqi.crypto")]
pub struct Sm3(Mutex<core::Sm3>);

impl Sm3 {
    fn state(&self) -> MutexGuard<'_, core::Sm3> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl Sm3 {
    #[new]
    fn new() -> Self {
        Self(Mutex::new(core::Sm3::new()))
    }

    fn update(&self, py: Python<'_>, data: PyBackedBytes) {
        detached(py, data.len(), || self.state().update(&data));
    }

    fn digest<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        // Without the interpreter lock, in case another thread is feeding a long piece.
        PyBytes::new(py, &py.detach(|| self.state().clone().finish()))
    }

    fn copy(&self, py: Python<'_>) -> Self {
        Self(Mutex::new(py.detach(|| self.state().clone())))
    }
}

#[pyfunction]
pub fn hmac_sm3<'py>(
    py: Python<'py>,
    key: PyBackedBytes,
    data: PyBackedBytes,
) -> Bound<'py, PyBytes> {
    let code = detached(py, data.len(), || HmacSm3::new(&key).mac(&[&data]));
    PyBytes::new(py, &code)
}

#[pyfunction]
pub fn hmac_sm3_many<'py>(
    py: Python<'py>,
    key: PyBackedBytes,
    data: &Bound<'py, PyList>,
) -> PyResult<Bound<'py, PyList>> {
    let items = data.to_tuple();
    let items = bytes_of("data", &items)?;
    let codes = py.detach(|| HmacSm3::new(&key).mac_many(&items));
    bytes_list(py, &codes)
}

#[pyfunction]
pub fn hmac_sm3_buffer<'py>(
    py: Python<'py>,
    key: PyBackedBytes,
    data: PyBackedBytes,
    offsets: Offsets,
) -> PyResult<Bound<'py, PyBytes>> {
    let items = slices(&data, &offsets)?;
    let codes = py.detach(|| HmacSm3::new(&key).mac_many(&items));
    Ok(PyBytes::new(py, codes.as_flattened()))
}

#[pyfunction]
pub fn sm3_kdf<'py>(
    py: Python<'py>,
    secret: PyBackedBytes,
    length: usize,
) -> PyResult<Bound<'py, PyBytes>> {
    let derived = py.detach(|| core::kdf(&secret, length))?;
    Ok(PyBytes::new(py, &derived))
}

#[pyfunction]
pub fn sha2<'py>(
    py: Python<'py>,
    name: &str,
    data: PyBackedBytes,
) -> PyResult<Bound<'py, PyBytes>> {
    let algorithm = Sha2::from_name(name)?;
    let digest = detached(py, data.len(), || algorithm.digest(&data));
    Ok(PyBytes::new(py, &digest))
}

#[pyfunction]
pub fn hmac_sha2_many<'py>(
    py: Python<'py>,
    name: &str,
    key: PyBackedBytes,
    data: &Bound<'py, PyList>,
) -> PyResult<Bound<'py, PyList>> {
    let algorithm = Sha2::from_name(name)?;
    let items = data.to_tuple();
    let items = bytes_of("data", &items)?;
    let codes = py.detach(|| algorithm.hmac_many(&key, &items));
    bytes_list(py, &codes)
}

#[pyfunction]
pub fn hmac_sha2_buffer<'py>(
    py: Python<'py>,
    name: &str,
    key: PyBackedBytes,
    data: PyBackedBytes,
    offsets: Offsets,
) -> PyResult<Bound<'py, PyBytes>> {
    let algorithm = Sha2::from_name(name)?;
    let items = slices(&data, &offsets)?;
    let codes = py.detach(|| algorithm.hmac_many(&key, &items).concat());
    Ok(PyBytes::new(py, &codes))
}

#[pyfunction]
pub fn pbkdf2_sha2<'py>(
    py: Python<'py>,
    name: &str,
    password: PyBackedBytes,
    salt: PyBackedBytes,
    iterations: u32,
    length: usize,
) -> PyResult<Bound<'py, PyBytes>> {
    let algorithm = Sha2::from_name(name)?;
    let derived = py.detach(|| general::pbkdf2(algorithm, &password, &salt, iterations, length))?;
    Ok(PyBytes::new(py, &derived))
}

#[pyfunction]
#[pyo3(signature = (data, start = 0))]
pub fn crc32c(py: Python<'_>, data: PyBackedBytes, start: u32) -> u32 {
    detached(py, data.len() / 16, || {
        ::crc32c::crc32c_append(start, &data)
    })
}

//! Settings of the engine, and the two forms of a signature.

use crate::sm2::{self, Tier};
use crate::threads;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

#[pyfunction]
pub fn active_tier() -> &'static str {
    Tier::active().name()
}

#[pyfunction]
#[pyo3(signature = (tier))]
pub fn force_tier(tier: Option<&str>) -> PyResult<()> {
    let unknown = |name: &str| {
        PyValueError::new_err(format!(
            "tier: \"portable\", \"avx512ifma\" or None expected, got {name:?}"
        ))
    };
    let tier = tier
        .map(|name| Tier::from_name(name).ok_or_else(|| unknown(name)))
        .transpose()?;
    if Tier::force(tier) {
        return Ok(());
    }
    Err(PyValueError::new_err(
        "tier: this processor has no AVX-512 IFMA",
    ))
}

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

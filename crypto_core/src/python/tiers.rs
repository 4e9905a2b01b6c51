//! The instructions in use.

use crate::tier::{self as core, Tier};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

#[pyfunction]
pub fn tier() -> &'static str {
    core::current().name()
}

#[pyfunction]
pub fn force_tier(name: Option<&str>) -> PyResult<()> {
    let tier = name.map(|name| {
        Tier::from_name(name).ok_or_else(|| {
            let names = Tier::ALL.map(Tier::name).join(", ");
            PyValueError::new_err(format!("tier {name:?}: one of {names} expected"))
        })
    });
    if core::force(tier.transpose()?) {
        return Ok(());
    }
    let best = core::best().name();
    Err(PyValueError::new_err(format!(
        "tier {}: this processor has {best} at most",
        name.unwrap_or_default()
    )))
}

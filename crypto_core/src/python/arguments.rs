//! Reading of lists, with the index of a wrong item in the error.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::pybacked::{PyBackedBytes, PyBackedStr};
use pyo3::types::{PyBytes, PyList, PyString};

/// Borrow the items of a list of `bytes`. They are immutable, hence safe to read with the lock released.
pub fn list_of_bytes(name: &str, list: &Bound<'_, PyList>) -> PyResult<Vec<PyBackedBytes>> {
    read_items(name, "bytes", list, |item| {
        Some(item.cast_into::<PyBytes>().ok()?.into())
    })
}

/// Borrow the items of a list of `str`.
pub fn list_of_str(name: &str, list: &Bound<'_, PyList>) -> PyResult<Vec<PyBackedStr>> {
    read_items(name, "str (without lone surrogates)", list, |item| {
        PyBackedStr::try_from(item.cast_into::<PyString>().ok()?).ok()
    })
}

/// Read the items of a list of `int`; each must fit 64 signed bits.
pub fn list_of_i64(name: &str, list: &Bound<'_, PyList>) -> PyResult<Vec<i64>> {
    let mut amounts = Vec::with_capacity(list.len());
    for (index, item) in list.iter().enumerate() {
        amounts.push(item.extract::<i64>().map_err(|error| {
            let text = format!("{name}[{index}]: {}", error.value(list.py()));
            PyErr::from_type(error.get_type(list.py()), text)
        })?);
    }
    Ok(amounts)
}

fn read_items<'py, T>(
    name: &str,
    expected: &str,
    list: &Bound<'py, PyList>,
    read: impl Fn(Bound<'py, PyAny>) -> Option<T>,
) -> PyResult<Vec<T>> {
    let mut items = Vec::with_capacity(list.len());
    for (index, item) in list.iter().enumerate() {
        let actual = item.get_type();
        items.push(read(item).ok_or_else(|| {
            PyTypeError::new_err(format!(
                "{name}[{index}]: {expected} expected, got {}",
                actual
            ))
        })?);
    }
    Ok(items)
}

//! Check digits of identifiers; too quick for releasing the interpreter lock to pay.

use super::arguments::{list_of_i64, list_of_str};
use crate::identifiers::{self as core, Reason};
use pyo3::prelude::*;
use pyo3::types::PyList;

fn reasons(list: &Bound<'_, PyList>, check: fn(&str) -> Reason) -> PyResult<Vec<&'static str>> {
    Ok(list_of_str("identifiers", list)?
        .iter()
        .map(|item| check(item).code())
        .collect())
}

#[pyfunction]
pub fn check_cnaps(identifiers: &Bound<'_, PyList>) -> PyResult<Vec<&'static str>> {
    reasons(identifiers, core::check_cnaps)
}

#[pyfunction]
pub fn check_bank_card_luhn(identifiers: &Bound<'_, PyList>) -> PyResult<Vec<&'static str>> {
    reasons(identifiers, core::check_bank_card_luhn)
}

#[pyfunction]
pub fn check_iban(identifiers: &Bound<'_, PyList>) -> PyResult<Vec<&'static str>> {
    reasons(identifiers, core::check_iban)
}

#[pyfunction]
pub fn check_uscc(identifiers: &Bound<'_, PyList>) -> PyResult<Vec<&'static str>> {
    reasons(identifiers, core::check_uscc)
}

#[pyfunction]
pub fn check_bic(identifiers: &Bound<'_, PyList>) -> PyResult<Vec<&'static str>> {
    reasons(identifiers, core::check_bic)
}

#[pyfunction]
pub fn control_sum(amounts: &Bound<'_, PyList>) -> PyResult<i64> {
    Ok(core::control_sum(&list_of_i64("amounts", amounts)?)?)
}

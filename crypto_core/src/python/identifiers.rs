//! Check digits of identifiers; too quick for releasing the interpreter lock to pay.

use super::arguments::{list_of_i64, wrong_item};
use crate::identifiers::{self as core, Reason};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};

/// One reason per item. The few texts are made once, the items are read in place: this is where the time would go.
fn reasons<'py>(
    list: &Bound<'py, PyList>,
    check: fn(&str) -> Reason,
) -> PyResult<Bound<'py, PyList>> {
    let py = list.py();
    let codes = Reason::ALL.map(|reason| PyString::intern(py, reason.code()));
    let mut found = Vec::with_capacity(list.len());
    for (index, item) in list.iter().enumerate() {
        let text = item.cast::<PyString>().ok();
        let Some(text) = text.and_then(|text| text.to_str().ok()) else {
            let expected = "str (without lone surrogates)";
            return Err(wrong_item("identifiers", expected, index, &item));
        };
        found.push(check(text));
    }
    PyList::new(py, found.iter().map(|reason| &codes[*reason as usize]))
}

macro_rules! checks {
    ($($name:ident)*) => {$(
        #[pyfunction]
        pub fn $name<'py>(identifiers: &Bound<'py, PyList>) -> PyResult<Bound<'py, PyList>> {
            reasons(identifiers, core::$name)
        }
    )*};
}
checks! {
    check_bank_card_luhn check_bic check_cnaps check_creditor_reference check_iban check_lei check_resident_id check_uscc
}

#[pyfunction]
pub fn control_sum(amounts: &Bound<'_, PyList>) -> PyResult<i64> {
    Ok(core::control_sum(&list_of_i64("amounts", amounts)?)?)
}

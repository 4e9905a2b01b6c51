//! Reading of lists, with the index of a wrong item in the error.

use crate::errors::CryptoError;
use crate::sm2::Order;
use crate::texts::{Opened, Texts};
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};

/// Borrow the items of a list of `bytes` from a tuple made of it: the tuple keeps them while the lock is released, whatever
/// happens to the list, and `bytes` are immutable.
pub fn bytes_of<'a>(name: &str, items: &'a Bound<'_, PyTuple>) -> PyResult<Vec<&'a [u8]>> {
    let mut texts = Vec::with_capacity(items.len());
    for (index, item) in items.iter_borrowed().enumerate() {
        let text = item.extract::<&'a [u8]>();
        texts.push(text.map_err(|_| wrong_item(name, "bytes", index, &item))?);
    }
    Ok(texts)
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

/// 32 bytes, or `InvalidLength`.
pub fn array_of_32(name: &str, bytes: &[u8]) -> Result<[u8; 32], CryptoError> {
    bytes
        .try_into()
        .map_err(|_| CryptoError::length(name, "32 bytes", bytes.len()))
}

/// Copy the items of a list of digests, 32 bytes each.
pub fn list_of_digests(name: &str, list: &Bound<'_, PyList>) -> PyResult<Vec<[u8; 32]>> {
    let items = list.to_tuple();
    let items = bytes_of(name, &items)?;
    let read = |(index, item): (usize, &&[u8])| Ok(array_of_32(&format!("{name}[{index}]"), item)?);
    items.iter().enumerate().map(read).collect()
}

/// Where the items of a buffer begin and end, out of a list of `int`, an `array("Q")`, which is copied in one go, or another sequence.
pub struct Offsets(Vec<usize>);

impl FromPyObject<'_, '_> for Offsets {
    type Error = PyErr;

    fn extract(given: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        // A number below 0 lies outside the data as much as one that is too large.
        let offset = |number: i64| usize::try_from(number).unwrap_or(usize::MAX);
        if let Ok(list) = given.cast::<PyList>() {
            let items = list.to_tuple();
            let mut offsets = Vec::with_capacity(items.len());
            for item in items.iter_borrowed() {
                offsets.push(offset(item.extract()?));
            }
            return Ok(Self(offsets));
        }
        match PyBuffer::<usize>::get(&given) {
            Ok(buffer) => buffer.to_vec(given.py()).map(Self),
            Err(_) => Ok(Self(
                given
                    .extract::<Vec<i64>>()?
                    .into_iter()
                    .map(offset)
                    .collect(),
            )),
        }
    }
}

/// Cut one buffer at its offsets: item i lies from offset i to offset i + 1.
pub fn slices<'a>(data: &'a [u8], offsets: &Offsets) -> Result<Vec<&'a [u8]>, CryptoError> {
    let Offsets(offsets) = offsets;
    let wrong = |index: usize| {
        CryptoError::InvalidLength(format!(
            "offsets[{index}]: offsets must rise from 0 or more to at most the length of data ({})",
            data.len()
        ))
    };
    if offsets.is_empty() {
        return Err(CryptoError::length(
            "offsets",
            "one more than there are items",
            0,
        ));
    }
    let mut items = Vec::with_capacity(offsets.len() - 1);
    for (index, [start, end]) in offsets.array_windows().enumerate() {
        let wrong = || wrong(index + usize::from(*start <= data.len()));
        items.push(data.get(*start..*end).ok_or_else(wrong)?);
    }
    Ok(items)
}

/// Cut one buffer into items of N bytes, as many as there are texts.
pub fn items_of<'a, const N: usize>(
    name: &str,
    data: &'a [u8],
    count: usize,
) -> Result<&'a [[u8; N]], CryptoError> {
    match data.as_chunks() {
        (items, []) if items.len() == count => Ok(items),
        _ => {
            let expected = format!("{N} bytes for each of {count} texts");
            Err(CryptoError::length(name, &expected, data.len()))
        }
    }
}

/// The order of a ciphertext's parts by name.
pub fn order_of(name: &str) -> PyResult<Order> {
    match name {
        "C1C3C2" => Ok(Order::C1C3C2),
        "C1C2C3" => Ok(Order::C1C2C3),
        _ => Err(PyValueError::new_err(format!(
            "order: \"C1C3C2\" or \"C1C2C3\" expected, got {name:?}"
        ))),
    }
}

/// The error that names a wrong item of a list.
pub fn wrong_item(name: &str, expected: &str, index: usize, item: &Bound<'_, PyAny>) -> PyErr {
    let actual = item.get_type();
    PyTypeError::new_err(format!(
        "{name}[{index}]: {expected} expected, got {actual}"
    ))
}

/// A list of `bytes` out of byte strings.
pub fn bytes_list<'py, T: AsRef<[u8]>>(
    py: Python<'py>,
    items: &[T],
) -> PyResult<Bound<'py, PyList>> {
    PyList::new(py, items.iter().map(|item| PyBytes::new(py, item.as_ref())))
}

/// A list of `bytes` out of the texts of a batch.
pub fn texts_list<'py>(py: Python<'py>, texts: &Texts) -> PyResult<Bound<'py, PyList>> {
    PyList::new(py, texts.iter().map(|text| PyBytes::new(py, text)))
}

/// A list of `bytes`, or `None` for a text that was refused.
pub fn opened_list<'py>(py: Python<'py>, opened: &Opened) -> PyResult<Bound<'py, PyList>> {
    let bytes = |text: Option<&[u8]>| text.map(|text| PyBytes::new(py, text));
    PyList::new(py, opened.iter().map(bytes))
}

/// A batch as one buffer and its offsets.
pub type Buffer<'py> = (Bound<'py, PyBytes>, Bound<'py, PyList>);

/// The texts of a batch as one buffer and its offsets.
pub fn buffer<'py>(py: Python<'py>, texts: &Texts) -> PyResult<Buffer<'py>> {
    let offsets = PyList::new(py, texts.offsets())?;
    Ok((PyBytes::new(py, texts.bytes()), offsets))
}

/// A batch that was opened, as one buffer, its offsets and one byte for each text: 1 when it was accepted, else 0.
pub type OpenedBuffer<'py> = (Bound<'py, PyBytes>, Bound<'py, PyList>, Bound<'py, PyBytes>);

/// What was opened as one buffer, its offsets and the verdicts.
pub fn opened_buffer<'py>(py: Python<'py>, opened: &Opened) -> PyResult<OpenedBuffer<'py>> {
    let (bytes, offsets) = buffer(py, &opened.texts)?;
    let verdicts: Vec<u8> = opened.accepted.iter().map(|fits| u8::from(*fits)).collect();
    Ok((bytes, offsets, PyBytes::new(py, &verdicts)))
}

/// A list of `bytes` or `None`.
pub fn optional_bytes_list<'py>(
    py: Python<'py>,
    items: &[Option<Vec<u8>>],
) -> PyResult<Bound<'py, PyList>> {
    let bytes = |item: &Option<Vec<u8>>| item.as_ref().map(|item| PyBytes::new(py, item));
    PyList::new(py, items.iter().map(bytes))
}

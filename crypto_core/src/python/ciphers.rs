//! SM4 in its modes, AES-256-GCM and sealed envelopes.

use super::arguments::{
    Buffer, Offsets, OpenedBuffer, buffer, bytes_list, bytes_of, items_of, opened_buffer,
    opened_list, optional_bytes_list, slices, texts_list,
};
use crate::envelope;
use crate::errors::{CryptoError, Result};
use crate::general::Aes256Gcm;
use crate::sm4::{self, GcmKey, Message};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyList, PyTuple};

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

#[pyfunction]
pub fn sm4_cbc_encrypt_many<'py>(
    py: Python<'py>,
    key: PyBackedBytes,
    ivs: &Bound<'py, PyList>,
    plaintexts: &Bound<'py, PyList>,
) -> PyResult<Bound<'py, PyList>> {
    let ivs = ivs.to_tuple();
    let ivs = bytes_of("ivs", &ivs)?;
    let plaintexts = plaintexts.to_tuple();
    let plaintexts = bytes_of("plaintexts", &plaintexts)?;
    let sealed = py.detach(|| sm4::cbc_encrypt_many(&key, &ivs, &plaintexts))?;
    texts_list(py, &sealed)
}

#[pyfunction]
pub fn sm4_cbc_encrypt_buffer<'py>(
    py: Python<'py>,
    key: PyBackedBytes,
    ivs: PyBackedBytes,
    data: PyBackedBytes,
    offsets: Offsets,
) -> PyResult<Buffer<'py>> {
    let plaintexts = slices(&data, &offsets)?;
    let ivs = items_of::<{ sm4::BLOCK_LENGTH }>("ivs", &ivs, plaintexts.len())?;
    let sealed = py.detach(|| sm4::cbc_encrypt_many(&key, ivs, &plaintexts))?;
    buffer(py, &sealed)
}

#[pyfunction]
pub fn sm4_cbc_decrypt_buffer<'py>(
    py: Python<'py>,
    key: PyBackedBytes,
    ivs: PyBackedBytes,
    data: PyBackedBytes,
    offsets: Offsets,
) -> PyResult<OpenedBuffer<'py>> {
    let ciphertexts = slices(&data, &offsets)?;
    let ivs = items_of::<{ sm4::BLOCK_LENGTH }>("ivs", &ivs, ciphertexts.len())?;
    let opened = py.detach(|| sm4::cbc_decrypt_many(&key, ivs, &ciphertexts))?;
    opened_buffer(py, &opened)
}

#[pyfunction]
pub fn sm4_cbc_decrypt_many<'py>(
    py: Python<'py>,
    key: PyBackedBytes,
    ivs: &Bound<'py, PyList>,
    ciphertexts: &Bound<'py, PyList>,
) -> PyResult<Bound<'py, PyList>> {
    let ivs = ivs.to_tuple();
    let ivs = bytes_of("ivs", &ivs)?;
    let ciphertexts = ciphertexts.to_tuple();
    let ciphertexts = bytes_of("ciphertexts", &ciphertexts)?;
    let opened = py.detach(|| sm4::cbc_decrypt_many(&key, &ivs, &ciphertexts))?;
    opened_list(py, &opened)
}

#[pyfunction]
pub fn sm4_ctr<'py>(
    py: Python<'py>,
    key: PyBackedBytes,
    counter: PyBackedBytes,
    data: PyBackedBytes,
) -> PyResult<Bound<'py, PyBytes>> {
    let output = py.detach(|| sm4::ctr(&key, &counter, &data))?;
    Ok(PyBytes::new(py, &output))
}

/// Lists of nonces, texts and associated data, held while the lock is released.
struct Held<'py> {
    nonces: Bound<'py, PyTuple>,
    texts: Bound<'py, PyTuple>,
    aads: Option<Bound<'py, PyTuple>>,
}

impl<'py> Held<'py> {
    fn new(
        nonces: &Bound<'py, PyList>,
        texts: &Bound<'py, PyList>,
        aads: Option<&Bound<'py, PyList>>,
    ) -> Self {
        Self {
            nonces: nonces.to_tuple(),
            texts: texts.to_tuple(),
            aads: aads.map(|aads| aads.to_tuple()),
        }
    }

    /// The messages; `name` is that of the texts.
    fn messages(&self, name: &str) -> PyResult<Vec<Message<'_>>> {
        let nonces = bytes_of("nonces", &self.nonces)?;
        let texts = bytes_of(name, &self.texts)?;
        if nonces.len() != texts.len() {
            let expected = format!("as many as {name} ({})", texts.len());
            return Err(CryptoError::length("nonces", &expected, nonces.len()).into());
        }
        let aads = read_aads(name, texts.len(), self.aads.as_ref())?;
        Ok(joined(nonces.into_iter(), &texts, &aads))
    }
}

/// Nonces and texts, as many of one as of the other; `aads` is empty or has one item for each text.
fn joined<'a>(
    nonces: impl Iterator<Item = &'a [u8]>,
    texts: &[&'a [u8]],
    aads: &[&'a [u8]],
) -> Vec<Message<'a>> {
    let message = |(i, (nonce, data)): (usize, (&'a [u8], &&'a [u8]))| Message {
        nonce,
        data,
        aad: aads.get(i).copied().unwrap_or_default(),
    };
    nonces.zip(texts).enumerate().map(message).collect()
}

/// The messages of one buffer.
fn messages_of<'a>(
    nonces: &'a [u8],
    texts: &[&'a [u8]],
    aads: &[&'a [u8]],
) -> Result<Vec<Message<'a>>> {
    let nonces = items_of::<{ sm4::NONCE_LENGTH }>("nonces", nonces, texts.len())?;
    Ok(joined(nonces.iter().map(|nonce| &nonce[..]), texts, aads))
}

/// Where sealed texts begin in one buffer, and at the end its length.
fn sealed_ends(messages: &[Message<'_>]) -> Vec<usize> {
    let mut ends = Vec::with_capacity(messages.len() + 1);
    let mut end = 0;
    ends.push(end);
    for message in messages {
        end += message.data.len() + sm4::TAG_LENGTH;
        ends.push(end);
    }
    ends
}

/// The one text of a batch of one.
fn only<T>(mut batch: Vec<T>) -> Result<T> {
    batch.pop().ok_or(CryptoError::DecryptionFailed)
}

macro_rules! gcm {
    (
        $key:ident,
        $encrypt:ident,
        $decrypt:ident,
        $encrypt_many:ident,
        $decrypt_many:ident,
        $encrypt_buffer:ident,
        $decrypt_buffer:ident
    ) => {
        #[pyfunction]
        #[pyo3(signature = (key, nonce, plaintext, aad = None))]
        pub fn $encrypt<'py>(
            py: Python<'py>,
            key: PyBackedBytes,
            nonce: PyBackedBytes,
            plaintext: PyBackedBytes,
            aad: Option<PyBackedBytes>,
        ) -> PyResult<Bound<'py, PyBytes>> {
            let aad = aad.as_deref().unwrap_or_default();
            let (nonce, data) = (&nonce[..], &plaintext[..]);
            let message = [Message { nonce, data, aad }];
            PyBytes::new_with(py, data.len() + sm4::TAG_LENGTH, |sealed| {
                Ok(py.detach(|| $key::new(&key)?.seal_into(&message, sealed))?)
            })
        }

        #[pyfunction]
        #[pyo3(signature = (key, nonce, ciphertext, aad = None))]
        pub fn $decrypt<'py>(
            py: Python<'py>,
            key: PyBackedBytes,
            nonce: PyBackedBytes,
            ciphertext: PyBackedBytes,
            aad: Option<PyBackedBytes>,
        ) -> PyResult<Bound<'py, PyBytes>> {
            let opened = py.detach(|| {
                let (nonce, data, aad) = (&nonce[..], &ciphertext[..], aad.as_deref());
                let aad = aad.unwrap_or_default();
                let opened = $key::new(&key)?.open_texts(&[Message { nonce, data, aad }])?;
                opened.into_only()
            })?;
            Ok(PyBytes::new(py, &opened))
        }

        #[pyfunction]
        #[pyo3(signature = (key, nonces, plaintexts, aads = None))]
        pub fn $encrypt_many<'py>(
            py: Python<'py>,
            key: PyBackedBytes,
            nonces: &Bound<'py, PyList>,
            plaintexts: &Bound<'py, PyList>,
            aads: Option<&Bound<'py, PyList>>,
        ) -> PyResult<Bound<'py, PyList>> {
            let held = Held::new(nonces, plaintexts, aads);
            let messages = held.messages("plaintexts")?;
            let sealed = py.detach(|| $key::new(&key)?.seal_texts(&messages))?;
            texts_list(py, &sealed)
        }

        #[pyfunction]
        #[pyo3(signature = (key, nonces, ciphertexts, aads = None))]
        pub fn $decrypt_many<'py>(
            py: Python<'py>,
            key: PyBackedBytes,
            nonces: &Bound<'py, PyList>,
            ciphertexts: &Bound<'py, PyList>,
            aads: Option<&Bound<'py, PyList>>,
        ) -> PyResult<Bound<'py, PyList>> {
            let held = Held::new(nonces, ciphertexts, aads);
            let messages = held.messages("ciphertexts")?;
            let opened = py.detach(|| $key::new(&key)?.open_texts(&messages))?;
            opened_list(py, &opened)
        }

        #[pyfunction]
        #[pyo3(signature = (key, nonces, data, offsets, aads = None))]
        pub fn $encrypt_buffer<'py>(
            py: Python<'py>,
            key: PyBackedBytes,
            nonces: PyBackedBytes,
            data: PyBackedBytes,
            offsets: Offsets,
            aads: Option<&Bound<'py, PyList>>,
        ) -> PyResult<Buffer<'py>> {
            let texts = slices(&data, &offsets)?;
            let aads = aads.map(|aads| aads.to_tuple());
            let aads = read_aads("data", texts.len(), aads.as_ref())?;
            let messages = messages_of(&nonces, &texts, &aads)?;
            let ends = sealed_ends(&messages);
            let sealed = PyBytes::new_with(py, ends[texts.len()], |sealed| {
                Ok(py.detach(|| $key::new(&key)?.seal_into(&messages, sealed))?)
            })?;
            Ok((sealed, PyList::new(py, ends)?))
        }

        #[pyfunction]
        #[pyo3(signature = (key, nonces, data, offsets, aads = None))]
        pub fn $decrypt_buffer<'py>(
            py: Python<'py>,
            key: PyBackedBytes,
            nonces: PyBackedBytes,
            data: PyBackedBytes,
            offsets: Offsets,
            aads: Option<&Bound<'py, PyList>>,
        ) -> PyResult<OpenedBuffer<'py>> {
            let texts = slices(&data, &offsets)?;
            let aads = aads.map(|aads| aads.to_tuple());
            let aads = read_aads("data", texts.len(), aads.as_ref())?;
            let messages = messages_of(&nonces, &texts, &aads)?;
            let opened = py.detach(|| $key::new(&key)?.open_texts(&messages))?;
            opened_buffer(py, &opened)
        }
    };
}
gcm!(
    GcmKey,
    sm4_gcm_encrypt,
    sm4_gcm_decrypt,
    sm4_gcm_encrypt_many,
    sm4_gcm_decrypt_many,
    sm4_gcm_encrypt_buffer,
    sm4_gcm_decrypt_buffer
);
gcm!(
    Aes256Gcm,
    aes_256_gcm_encrypt,
    aes_256_gcm_decrypt,
    aes_256_gcm_encrypt_many,
    aes_256_gcm_decrypt_many,
    aes_256_gcm_encrypt_buffer,
    aes_256_gcm_decrypt_buffer
);

#[pyclass(frozen, module = "yinqi.crypto")]
pub struct EnvelopeKey(envelope::EnvelopeKey);

/// No list means no associated data, and gives nothing; an empty list for some texts is a mistake.
fn read_aads<'a>(
    name: &str,
    texts: usize,
    aads: Option<&'a Bound<'_, PyTuple>>,
) -> PyResult<Vec<&'a [u8]>> {
    let Some(aads) = aads else { return Ok(vec![]) };
    let aads = bytes_of("aads", aads)?;
    if aads.len() != texts {
        let expected = format!("as many as {name} ({texts})");
        return Err(CryptoError::length("aads", &expected, aads.len()).into());
    }
    Ok(aads)
}

#[pymethods]
impl EnvelopeKey {
    #[new]
    fn new(
        py: Python<'_>,
        algorithm: &str,
        key_id: PyBackedBytes,
        key: PyBackedBytes,
    ) -> PyResult<Self> {
        let algorithm = envelope::Algorithm::from_name(algorithm)?;
        let key = py.detach(|| envelope::EnvelopeKey::new(algorithm, &key_id, &key))?;
        Ok(Self(key))
    }

    #[getter]
    fn key_id<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.id())
    }

    #[pyo3(signature = (texts, aads = None))]
    fn seal_many<'py>(
        &self,
        py: Python<'py>,
        texts: &Bound<'py, PyList>,
        aads: Option<&Bound<'py, PyList>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let texts = texts.to_tuple();
        let texts = bytes_of("texts", &texts)?;
        let aads = aads.map(|aads| aads.to_tuple());
        let aads = read_aads("texts", texts.len(), aads.as_ref())?;
        let sealed = py.detach(|| self.0.seal_many(&texts, &aads))?;
        bytes_list(py, &sealed)
    }

    #[pyo3(signature = (envelopes, aads = None))]
    fn open_many<'py>(
        &self,
        py: Python<'py>,
        envelopes: &Bound<'py, PyList>,
        aads: Option<&Bound<'py, PyList>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let envelopes = envelopes.to_tuple();
        let envelopes = bytes_of("envelopes", &envelopes)?;
        let aads = aads.map(|aads| aads.to_tuple());
        let aads = read_aads("envelopes", envelopes.len(), aads.as_ref())?;
        let opened = py.detach(|| self.0.open_many(&envelopes, &aads))?;
        optional_bytes_list(py, &opened)
    }

    #[pyo3(signature = (text, aad = None))]
    fn seal<'py>(
        &self,
        py: Python<'py>,
        text: PyBackedBytes,
        aad: Option<PyBackedBytes>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let aads: Vec<_> = aad.into_iter().collect();
        let sealed = py.detach(|| only(self.0.seal_many(&[text], &aads)?))?;
        Ok(PyBytes::new(py, &sealed))
    }

    #[pyo3(signature = (envelope, aad = None))]
    fn open<'py>(
        &self,
        py: Python<'py>,
        envelope: PyBackedBytes,
        aad: Option<PyBackedBytes>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let aads: Vec<_> = aad.into_iter().collect();
        let opened = py.detach(|| {
            only(self.0.open_many(&[envelope], &aads)?)?.ok_or(CryptoError::DecryptionFailed)
        })?;
        Ok(PyBytes::new(py, &opened))
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err(
            "an envelope key cannot be pickled or copied",
        ))
    }
}

#[pyfunction]
pub fn envelope_key_id<'py>(
    py: Python<'py>,
    envelope: PyBackedBytes,
) -> PyResult<Bound<'py, PyBytes>> {
    Ok(PyBytes::new(py, envelope::key_id(&envelope)?))
}

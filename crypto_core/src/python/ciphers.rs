//! SM4 in its modes, AES-256-GCM and sealed envelopes.

use super::arguments::{
    Buffer, OpenedBuffer, buffer, bytes_list, items_of, list_of_bytes, opened_buffer, opened_list,
    optional_bytes_list, slices, texts_list,
};
use crate::envelope;
use crate::errors::{CryptoError, Result};
use crate::general::Aes256Gcm;
use crate::sm4::{self, GcmKey, Message};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyList};

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
    let ivs = list_of_bytes("ivs", ivs)?;
    let plaintexts = list_of_bytes("plaintexts", plaintexts)?;
    let sealed = py.detach(|| sm4::cbc_encrypt_many(&key, &ivs, &plaintexts))?;
    texts_list(py, &sealed)
}

#[pyfunction]
pub fn sm4_cbc_encrypt_buffer<'py>(
    py: Python<'py>,
    key: PyBackedBytes,
    ivs: PyBackedBytes,
    data: PyBackedBytes,
    offsets: Vec<usize>,
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
    offsets: Vec<usize>,
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
    let ivs = list_of_bytes("ivs", ivs)?;
    let ciphertexts = list_of_bytes("ciphertexts", ciphertexts)?;
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

/// Nonces, texts and associated data out of lists, borrowed.
struct Messages {
    nonces: Vec<PyBackedBytes>,
    texts: Vec<PyBackedBytes>,
    aads: Vec<PyBackedBytes>,
}

impl Messages {
    fn read(
        nonces: &Bound<'_, PyList>,
        (name, texts): (&str, &Bound<'_, PyList>),
        aads: Option<&Bound<'_, PyList>>,
    ) -> PyResult<Self> {
        let nonces = list_of_bytes("nonces", nonces)?;
        let texts = list_of_bytes(name, texts)?;
        let expected = format!("as many as {name} ({})", texts.len());
        if nonces.len() != texts.len() {
            return Err(CryptoError::length("nonces", &expected, nonces.len()).into());
        }
        let aads = read_aads(name, texts.len(), aads)?.unwrap_or_default();
        Ok(Self {
            nonces,
            texts,
            aads,
        })
    }

    fn borrow(&self) -> Vec<Message<'_>> {
        let pairs = self.nonces.iter().zip(&self.texts).enumerate();
        pairs
            .map(|(i, (nonce, data))| Message {
                nonce,
                data,
                aad: self.aads.get(i).map_or(&[], |aad| aad),
            })
            .collect()
    }
}

/// The messages of one buffer; `aads` is empty or has one item for each text.
fn messages_of<'a>(
    nonces: &'a [u8],
    texts: &[&'a [u8]],
    aads: &'a [PyBackedBytes],
) -> Result<Vec<Message<'a>>> {
    let nonces = items_of::<{ sm4::NONCE_LENGTH }>("nonces", nonces, texts.len())?;
    let pairs = nonces.iter().zip(texts).enumerate();
    Ok(pairs
        .map(|(i, (nonce, data))| Message {
            nonce,
            data,
            aad: aads.get(i).map_or(&[], |aad| aad),
        })
        .collect())
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
            let sealed = py.detach(|| {
                let (nonce, data, aad) = (&nonce[..], &plaintext[..], aad.as_deref());
                let aad = aad.unwrap_or_default();
                let sealed = $key::new(&key)?.seal_texts(&[Message { nonce, data, aad }])?;
                Ok::<_, CryptoError>(sealed.into_bytes())
            })?;
            Ok(PyBytes::new(py, &sealed))
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
            let messages = Messages::read(nonces, ("plaintexts", plaintexts), aads)?;
            let sealed = py.detach(|| $key::new(&key)?.seal_texts(&messages.borrow()))?;
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
            let messages = Messages::read(nonces, ("ciphertexts", ciphertexts), aads)?;
            let opened = py.detach(|| $key::new(&key)?.open_texts(&messages.borrow()))?;
            opened_list(py, &opened)
        }

        #[pyfunction]
        #[pyo3(signature = (key, nonces, data, offsets, aads = None))]
        pub fn $encrypt_buffer<'py>(
            py: Python<'py>,
            key: PyBackedBytes,
            nonces: PyBackedBytes,
            data: PyBackedBytes,
            offsets: Vec<usize>,
            aads: Option<&Bound<'py, PyList>>,
        ) -> PyResult<Buffer<'py>> {
            let texts = slices(&data, &offsets)?;
            let aads = read_aads("data", texts.len(), aads)?.unwrap_or_default();
            let messages = messages_of(&nonces, &texts, &aads)?;
            let sealed = py.detach(|| $key::new(&key)?.seal_texts(&messages))?;
            buffer(py, &sealed)
        }

        #[pyfunction]
        #[pyo3(signature = (key, nonces, data, offsets, aads = None))]
        pub fn $decrypt_buffer<'py>(
            py: Python<'py>,
            key: PyBackedBytes,
            nonces: PyBackedBytes,
            data: PyBackedBytes,
            offsets: Vec<usize>,
            aads: Option<&Bound<'py, PyList>>,
        ) -> PyResult<OpenedBuffer<'py>> {
            let texts = slices(&data, &offsets)?;
            let aads = read_aads("data", texts.len(), aads)?.unwrap_or_default();
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

/// No list means no associated data; an empty list for some texts is a mistake.
fn read_aads(
    name: &str,
    texts: usize,
    aads: Option<&Bound<'_, PyList>>,
) -> PyResult<Option<Vec<PyBackedBytes>>> {
    let aads = aads.map(|aads| list_of_bytes("aads", aads)).transpose()?;
    match &aads {
        Some(aads) if aads.len() != texts => {
            let expected = format!("as many as {name} ({texts})");
            Err(CryptoError::length("aads", &expected, aads.len()).into())
        }
        _ => Ok(aads),
    }
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
        let texts = list_of_bytes("texts", texts)?;
        let aads = read_aads("texts", texts.len(), aads)?;
        let sealed = py.detach(|| {
            self.0
                .seal_many(&texts, aads.as_deref().unwrap_or_default())
        })?;
        bytes_list(py, &sealed)
    }

    #[pyo3(signature = (envelopes, aads = None))]
    fn open_many<'py>(
        &self,
        py: Python<'py>,
        envelopes: &Bound<'py, PyList>,
        aads: Option<&Bound<'py, PyList>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let envelopes = list_of_bytes("envelopes", envelopes)?;
        let aads = read_aads("envelopes", envelopes.len(), aads)?;
        let opened = py.detach(|| {
            self.0
                .open_many(&envelopes, aads.as_deref().unwrap_or_default())
        })?;
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

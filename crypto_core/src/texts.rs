//! The texts of a batch, one after the other in one buffer.

use crate::errors::{CryptoError, Result};
use zeroize::Zeroize;

/// Texts in the order of the batch: text i lies from offset i to offset i + 1.
pub struct Texts {
    bytes: Vec<u8>,
    offsets: Vec<usize>,
}

impl Texts {
    /// Room for `count` texts of `bytes` bytes together.
    pub fn with_capacity(count: usize, bytes: usize) -> Self {
        let mut offsets = Vec::with_capacity(count + 1);
        offsets.push(0);
        Self {
            bytes: Vec::with_capacity(bytes),
            offsets,
        }
    }

    /// Texts of these lengths, all of zeros, to be filled in place.
    pub fn zeroed(lengths: impl ExactSizeIterator<Item = usize>) -> Self {
        let mut texts = Self::with_capacity(lengths.len(), 0);
        let mut end = 0;
        for length in lengths {
            end += length;
            texts.offsets.push(end);
        }
        texts.bytes = vec![0; end];
        texts
    }

    /// Append a text: all bytes that `write` appends.
    pub fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.offsets.push(self.bytes.len());
    }

    /// All texts, one after the other.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// All texts, to be changed in place.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// All texts, the buffer itself.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Where the texts begin, and at the end the length of all.
    pub fn offsets(&self) -> &[usize] {
        &self.offsets
    }

    /// The texts, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.offsets
            .array_windows()
            .map(|[start, end]| &self.bytes[*start..*end])
    }

    /// Each text to be changed in place.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let Self { bytes, offsets } = self;
        let mut rest = &mut bytes[..];
        offsets.array_windows().map(move |[start, end]| {
            let (text, after) = std::mem::take(&mut rest).split_at_mut(end - start);
            rest = after;
            text
        })
    }

    /// Cut each text to the length given for it, and wipe what is cut off.
    pub fn cut(&mut self, lengths: impl Iterator<Item = usize>) {
        let mut kept = 0;
        for (i, length) in lengths.enumerate() {
            // The start of text i, read before it is moved.
            let start = std::mem::replace(&mut self.offsets[i], kept);
            self.bytes.copy_within(start..start + length, kept);
            kept += length;
        }
        if let Some(end) = self.offsets.last_mut() {
            *end = kept;
        }
        self.bytes[kept..].zeroize();
        self.bytes.truncate(kept);
    }

    /// Each text on its own.
    pub fn to_vecs(&self) -> Vec<Vec<u8>> {
        self.iter().map(<[u8]>::to_vec).collect()
    }
}

/// What opening a batch gives: the texts, empty where one was refused.
pub struct Opened {
    /// The texts, in order.
    pub texts: Texts,
    /// Which of them were accepted.
    pub accepted: Vec<bool>,
}

impl Opened {
    /// The only text of a batch of one.
    pub fn into_only(self) -> Result<Vec<u8>> {
        match self.accepted[..] {
            [true] => Ok(self.texts.into_bytes()),
            _ => Err(CryptoError::DecryptionFailed),
        }
    }

    /// The texts in order, `None` for one that was refused.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Option<&[u8]>> {
        let texts = self.texts.iter().zip(&self.accepted);
        texts.map(|(text, accepted)| accepted.then_some(text))
    }

    /// The same, each on its own.
    pub fn to_vecs(&self) -> Vec<Option<Vec<u8>>> {
        self.iter().map(|text| text.map(<[u8]>::to_vec)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_keep_their_order_when_changed_and_cut() {
        let mut texts = Texts::with_capacity(4, 10);
        for text in [&b"one"[..], b"", b"three", b"4"] {
            texts.push_with(|bytes| bytes.extend_from_slice(text));
        }
        texts.iter_mut().for_each(|text| text.reverse());
        assert_eq!(texts.to_vecs(), [&b"eno"[..], b"", b"eerht", b"4"]);
        assert_eq!(texts.offsets(), [0, 3, 3, 8, 9]);
        texts.cut([1, 0, 3, 0].into_iter());
        assert_eq!(texts.to_vecs(), [&b"e"[..], b"", b"eer", b""]);
        assert_eq!(texts.bytes(), b"eeer");
        assert_eq!(Texts::with_capacity(0, 0).iter().count(), 0);
    }
}

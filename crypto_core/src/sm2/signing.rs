//! The private key and signing (GB/T 32918.2, clause 6).

use super::engine;
use super::identity::IdentityDigest;
use super::nonce::Nonces;
use super::scalar::{Factor, Scalar};
use super::verifying::VerifyKey;
use super::words::Words;
use super::{CHUNK, GRAIN, SIGNATURE_LENGTH};
use crate::errors::{CryptoError, Result};
use crate::random;
use crate::sm3::HmacSm3;
use crate::threads;
use zeroize::{Zeroize, Zeroizing};

/// A private key d with (1+d)^-1 kept beside it. Wiped on drop; neither printable nor clonable.
pub struct SigningKey {
    d: Scalar,
    inverse_of_one_plus_d: Factor,
    /// HMAC-SM3 keyed with d, for nonces; it wipes itself.
    nonce_mac: HmacSm3,
    public: VerifyKey,
}

impl Drop for SigningKey {
    fn drop(&mut self) {
        self.d.zeroize();
        self.inverse_of_one_plus_d.zeroize();
    }
}

impl SigningKey {
    /// A new key from kernel entropy, uniform in 1..=n-2.
    pub fn generate() -> Result<Self> {
        loop {
            let mut bytes = Zeroizing::new([0u8; 32]);
            random::fill(bytes.as_mut())?;
            if let Ok(key) = Self::from_bytes(bytes.as_ref()) {
                return Ok(key);
            }
        }
    }

    /// Read d: 32 bytes, big-endian, 1 <= d <= n-2 (d = n-1 has no (1+d)^-1). Constant-time in d.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let out_of_range = || CryptoError::InvalidKey("private key: must lie in 1..=n-2".into());
        let bytes: &[u8; 32] = bytes
            .try_into()
            .map_err(|_| CryptoError::length("private key", "32 bytes", bytes.len()))?;
        let d = Zeroizing::new(Scalar::from_bytes_nonzero(bytes).ok_or_else(out_of_range)?);
        let one_plus_d = Zeroizing::new(d.add(&Scalar::ONE));
        if one_plus_d.is_zero() {
            return Err(out_of_range());
        }
        let inverse = Zeroizing::new(one_plus_d.invert());
        Ok(Self {
            d: *d,
            inverse_of_one_plus_d: inverse.prepare(),
            nonce_mac: HmacSm3::new(bytes),
            public: VerifyKey::from_point(engine::public_point(&d)),
        })
    }

    /// d as 32 bytes, big-endian. The caller wipes them.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.d.to_bytes())
    }

    pub(super) fn scalar(&self) -> &Scalar {
        &self.d
    }

    /// The key that checks this key's signatures.
    pub fn public_key(&self) -> &VerifyKey {
        &self.public
    }

    /// Sign one message; r‖s, 64 bytes. Constant-time in d and k; its time depends on the message's length.
    pub fn sign(&self, message: &[u8], identity: &[u8]) -> Result<[u8; SIGNATURE_LENGTH]> {
        self.sign_digest(&self.public.bind(identity)?.digest(message))
    }

    /// Sign each message; one signature per message, in order. Z_A and, per chunk, one inversion are shared.
    pub fn sign_many<M: AsRef<[u8]> + Sync>(
        &self,
        messages: &[M],
        identity: &[u8],
    ) -> Result<Vec<[u8; SIGNATURE_LENGTH]>> {
        let prefix = self.public.bind(identity)?;
        threads::share(messages.len(), GRAIN, |range| {
            self.sign_range(&messages[range], &prefix)
        })
    }

    fn sign_range<M: AsRef<[u8]>>(
        &self,
        messages: &[M],
        prefix: &IdentityDigest,
    ) -> Result<Vec<[u8; SIGNATURE_LENGTH]>> {
        let mut signatures = Vec::with_capacity(messages.len());
        for chunk in messages.chunks(CHUNK) {
            self.sign_chunk(&prefix.digests(chunk), &mut signatures)?;
        }
        Ok(signatures)
    }

    /// Sign each e = SM3(Z_A ‖ message), in order.
    pub fn sign_digests(&self, digests: &[[u8; 32]]) -> Result<Vec<[u8; SIGNATURE_LENGTH]>> {
        threads::share(digests.len(), GRAIN, |range| {
            let mut signatures = Vec::with_capacity(range.len());
            for chunk in digests[range].chunks(CHUNK) {
                self.sign_chunk(chunk, &mut signatures)?;
            }
            Ok(signatures)
        })
    }

    /// Sign e = SM3(Z_A ‖ message).
    pub fn sign_digest(&self, digest: &[u8; 32]) -> Result<[u8; SIGNATURE_LENGTH]> {
        let mut nonces = Nonces::new(&self.nonce_mac)?;
        loop {
            let k = Zeroizing::new(nonces.draw(digest));
            let x = engine::nonce_points(std::slice::from_ref(&*k))[0];
            if let Some(signature) = x.and_then(|x| self.finish(digest, &k, &x)) {
                return Ok(signature);
            }
        }
    }

    fn sign_chunk(
        &self,
        digests: &[[u8; 32]],
        signatures: &mut Vec<[u8; SIGNATURE_LENGTH]>,
    ) -> Result<()> {
        let nonces = Nonces::new(&self.nonce_mac)?.draw_all(digests);
        let coordinates = engine::nonce_points(&nonces);
        for ((digest, k), x) in digests.iter().zip(nonces.iter()).zip(coordinates) {
            signatures.push(match x.and_then(|x| self.finish(digest, k, &x)) {
                Some(signature) => signature,
                None => self.sign_digest(digest)?,
            });
        }
        Ok(())
    }

    /// Steps A5 and A6, given the x coordinate of k·G. `None` when the standard asks for another k: r = 0, r + k = n or
    /// s = 0.
    pub(super) fn finish(
        &self,
        digest: &[u8; 32],
        k: &Scalar,
        x: &Words,
    ) -> Option<[u8; SIGNATURE_LENGTH]> {
        let r = Scalar::reduce_bytes(digest).add(&Scalar::reduce(x));
        // (1+d)^-1 (k - r d) = (1+d)^-1 (k + r) - r: one multiplication, and r + k is needed anyway.
        let r_plus_k = Zeroizing::new(r.add(k));
        let s = r_plus_k.mul_prepared(&self.inverse_of_one_plus_d).sub(&r);
        if r.is_zero() | r_plus_k.is_zero() | s.is_zero() {
            return None;
        }
        let mut signature = [0; SIGNATURE_LENGTH];
        signature[..32].copy_from_slice(&r.to_bytes());
        signature[32..].copy_from_slice(&s.to_bytes());
        Some(signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sm2::DEFAULT_IDENTITY;
    use crate::sm2::tests::in_each_tier;
    use ::sm2::dsa::signature::{Signer, Verifier};
    use hex_literal::hex;

    const N: [u8; 32] = hex!("fffffffeffffffffffffffffffffffff7203df6b21c6052b53bbf40939d54123");
    const D: [u8; 32] = hex!("3945208f7b2144b13f36e38ac6d39f95889393692860b51a42fb81ef4df7c5b8");
    const SAMPLE: [u8; 64] = hex!(
        "f5a03b0648d2c4630eeac513e1bb81a15944da3827d5b74143ac7eaceee720b3"
        "b1b6aa29df212fd8763182bc0d421ca1bb9038fd1f7f42d4840b69c485bbc1aa"
    );

    fn changed(bytes: &[u8; 32], by: i8) -> [u8; 32] {
        let mut bytes = *bytes;
        bytes[31] = bytes[31].wrapping_add_signed(by);
        bytes
    }

    /// GB/T 32918.5-2017, annex A: key, nonce and signature of "message digest".
    #[test]
    fn the_sample_signature_of_the_standard_is_made_bit_for_bit() {
        let key = SigningKey::from_bytes(&D).unwrap();
        let public = hex!(
            "09f9df311e5421a150dd7d161e4bc5c672179fad1833fc076bb08ff356f35020"
            "ccea490ce26775a52dc6ea718cc1aa600aed05fbf35e084a6632f6072da9ad13"
        );
        assert_eq!(key.public_key().to_bytes()[1..], public);

        let prefix = key.public_key().bind(DEFAULT_IDENTITY).unwrap();
        let digest = prefix.digest(b"message digest");
        let k = hex!("59276e27d506861a16680f3ad9c02dccef3cc1fa3cdbe4ce6d54b80deac1bc21");
        let k = Scalar::from_bytes(&k).unwrap();
        for x in in_each_tier(|| engine::nonce_points(&[k])[0].unwrap()) {
            assert_eq!(key.finish(&digest, &k, &x), Some(SAMPLE));
        }
        assert!(key.public_key().accepts(&digest, &SAMPLE));
    }

    #[test]
    fn private_keys_outside_1_to_n_minus_2_are_refused() {
        let refused = [[0; 32], changed(&N, -1), N, changed(&N, 1), [0xff; 32]];
        for d in refused {
            assert!(
                matches!(SigningKey::from_bytes(&d), Err(CryptoError::InvalidKey(_))),
                "{d:02x?}"
            );
        }
        for length in [0, 31, 33] {
            assert!(matches!(
                SigningKey::from_bytes(&vec![1; length]),
                Err(CryptoError::InvalidLength(_))
            ));
        }
        let mut one = [0; 32];
        one[31] = 1;
        assert!(SigningKey::from_bytes(&one).is_ok());
        assert!(SigningKey::from_bytes(&changed(&N, -2)).is_ok());
    }

    #[test]
    fn the_standard_s_three_reasons_for_another_nonce_are_obeyed() {
        let key = SigningKey::from_bytes(&D).unwrap();
        let k = Scalar::from(7u64);
        let x = engine::nonce_points(&[k])[0].unwrap();
        let with_r = |r: Scalar| key.finish(&r.sub(&Scalar::reduce(&x)).to_bytes(), &k, &x);
        assert_eq!(with_r(Scalar::ZERO), None, "r = 0");
        assert_eq!(with_r(k.negate()), None, "r + k = n");
        // s = 0 when (1+d)^-1 (k + r) = r, that is r = k / d.
        assert_eq!(with_r(k.mul(&key.d.invert())), None, "s = 0");
        assert!(with_r(Scalar::ONE).is_some());
    }

    #[test]
    fn another_implementation_accepts_ours_and_we_accept_its() {
        for i in 0..40usize {
            let key = SigningKey::generate().unwrap();
            let identity = "i".repeat(i * 5);
            let theirs =
                ::sm2::dsa::SigningKey::from_slice(&identity, key.to_bytes().as_ref()).unwrap();
            let messages: Vec<Vec<u8>> = (0..3).map(|j| vec![j as u8; i * 7 + j]).collect();
            let signatures = key.sign_many(&messages, identity.as_bytes()).unwrap();
            for (message, signature) in messages.iter().zip(&signatures) {
                let signature = ::sm2::dsa::Signature::from_slice(signature).unwrap();
                theirs.verifying_key().verify(message, &signature).unwrap();
                let signature = Signer::<::sm2::dsa::Signature>::sign(&theirs, message);
                key.public_key()
                    .verify(message, &signature.to_bytes(), identity.as_bytes())
                    .unwrap();
            }
        }
    }

    #[test]
    fn two_signatures_of_one_message_differ_and_both_verify() {
        let key = SigningKey::generate().unwrap();
        let signatures = key.sign_many(&[b"same"; 130], DEFAULT_IDENTITY).unwrap();
        let distinct: std::collections::HashSet<_> = signatures
            .iter()
            .map(|signature| &signature[..32])
            .collect();
        assert_eq!(distinct.len(), 130);
        let verdicts = key
            .public_key()
            .verify_many(&[b"same"; 130], &signatures, DEFAULT_IDENTITY)
            .unwrap();
        assert!(verdicts.iter().all(|verdict| *verdict));
    }
}

//! The private key and signing (GB/T 32918.2, clause 6).

use super::SIGNATURE_LENGTH;
use super::identity::IdentityDigest;
use super::nonce::Nonces;
use super::verifying::VerifyKey;
use crate::errors::{CryptoError, Result};
use crate::random;
use crate::sm3::HmacSm3;
use sm2::elliptic_curve::PrimeField;
use sm2::elliptic_curve::ops::{MulByGenerator, Reduce};
use sm2::elliptic_curve::point::AffineCoordinates;
use sm2::{FieldBytes, ProjectivePoint, Scalar, U256};
use zeroize::{Zeroize, Zeroizing};

/// A private key d with (1+d)^-1 kept beside it. Wiped on drop; neither printable nor clonable.
pub struct SigningKey {
    d: Scalar,
    inverse_of_one_plus_d: Scalar,
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
        let bytes: [u8; 32] = bytes
            .try_into()
            .map_err(|_| CryptoError::length("private key", "32 bytes", bytes.len()))?;
        let repr = Zeroizing::new(bytes);
        let d = Option::<Scalar>::from(Scalar::from_repr(FieldBytes::clone_from_slice(
            repr.as_ref(),
        )))
        .ok_or_else(out_of_range)?;
        if d.is_zero().into() {
            return Err(out_of_range());
        }
        let inverse_of_one_plus_d =
            Option::<Scalar>::from((d + Scalar::ONE).invert()).ok_or_else(out_of_range)?;
        let public = VerifyKey::from_point(ProjectivePoint::mul_by_generator(&d).to_affine());
        Ok(Self {
            d,
            inverse_of_one_plus_d,
            public,
        })
    }

    /// d as 32 bytes, big-endian. The caller wipes them.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.d.to_repr().into())
    }

    /// The key that checks this key's signatures.
    pub fn public_key(&self) -> &VerifyKey {
        &self.public
    }

    /// Sign one message; r‖s, 64 bytes. Constant-time in d and k; its time depends on the message's length.
    pub fn sign(&self, message: &[u8], identity: &[u8]) -> Result<[u8; SIGNATURE_LENGTH]> {
        self.sign_digest(&IdentityDigest::new(&self.public, identity)?.digest(message))
    }

    /// Sign each message; one signature per message, in order. Z_A is computed once.
    pub fn sign_many<M: AsRef<[u8]>>(
        &self,
        messages: &[M],
        identity: &[u8],
    ) -> Result<Vec<[u8; SIGNATURE_LENGTH]>> {
        let prefix = IdentityDigest::new(&self.public, identity)?;
        messages
            .iter()
            .map(|message| self.sign_digest(&prefix.digest(message.as_ref())))
            .collect()
    }

    /// Sign e = SM3(Z_A ‖ message).
    pub fn sign_digest(&self, digest: &[u8; 32]) -> Result<[u8; SIGNATURE_LENGTH]> {
        let e = <Scalar as Reduce<U256>>::reduce_bytes(&FieldBytes::from(*digest));
        let mut nonces = Nonces::new(HmacSm3::new(self.to_bytes().as_ref()), digest)?;
        loop {
            let mut k = nonces.draw();
            let signature = self.sign_with_nonce(&e, &k);
            k.zeroize();
            if let Some(signature) = signature {
                return Ok(signature);
            }
        }
    }

    /// Steps A4 to A6. `None` when the standard asks for another k: r = 0, r + k = n or s = 0.
    fn sign_with_nonce(&self, e: &Scalar, k: &Scalar) -> Option<[u8; SIGNATURE_LENGTH]> {
        let x1 = ProjectivePoint::mul_by_generator(k).to_affine().x();
        let r = *e + <Scalar as Reduce<U256>>::reduce_bytes(&x1);
        // (1+d)^-1 (k - r d) = (1+d)^-1 (k + r) - r: one multiplication, and r + k is needed anyway.
        let r_plus_k = r + k;
        let s = self.inverse_of_one_plus_d * r_plus_k - r;
        if bool::from(r.is_zero() | r_plus_k.is_zero() | s.is_zero()) {
            return None;
        }
        let mut signature = [0; SIGNATURE_LENGTH];
        signature[..32].copy_from_slice(&r.to_repr());
        signature[32..].copy_from_slice(&s.to_repr());
        Some(signature)
    }
}

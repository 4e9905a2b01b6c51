//! The public key and verification (GB/T 32918.2, clause 7).

use super::SIGNATURE_LENGTH;
use super::identity::IdentityDigest;
use crate::errors::{CryptoError, Result};
use sm2::elliptic_curve::PrimeField;
use sm2::elliptic_curve::ops::{LinearCombination, Reduce};
use sm2::elliptic_curve::point::AffineCoordinates;
use sm2::elliptic_curve::sec1::{FromEncodedPoint, ToEncodedPoint};
use sm2::{AffinePoint, EncodedPoint, FieldBytes, ProjectivePoint, Scalar, U256};

/// A public key: a point of the curve, checked when it was read, never infinity.
#[derive(Clone)]
pub struct VerifyKey {
    point: AffinePoint,
}

impl VerifyKey {
    pub(super) fn from_point(point: AffinePoint) -> Self {
        Self { point }
    }

    /// Read a key: 65 bytes 04‖x‖y, or 64 bytes x‖y as many banks send it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let coordinates = match bytes {
            [4, coordinates @ ..] if coordinates.len() == 64 => coordinates,
            _ if bytes.len() == 64 => bytes,
            _ if bytes.len() == 65 => {
                return Err(CryptoError::InvalidKey(
                    "public key: 65 bytes must begin with 04 (uncompressed)".into(),
                ));
            }
            _ => {
                return Err(CryptoError::length(
                    "public key",
                    "64 bytes x‖y or 65 bytes 04‖x‖y",
                    bytes.len(),
                ));
            }
        };
        let (x, y) = coordinates.split_at(32);
        let encoded = EncodedPoint::from_affine_coordinates(
            FieldBytes::from_slice(x),
            FieldBytes::from_slice(y),
            false,
        );
        Option::<AffinePoint>::from(AffinePoint::from_encoded_point(&encoded))
            .filter(|point| !bool::from(point.is_identity()))
            .map(|point| Self { point })
            .ok_or_else(|| {
                CryptoError::InvalidKey("public key: not a point of the SM2 curve".into())
            })
    }

    /// 04‖x‖y, 65 bytes.
    pub fn to_bytes(&self) -> [u8; 65] {
        let mut bytes = [0; 65];
        bytes.copy_from_slice(self.point.to_encoded_point(false).as_bytes());
        bytes
    }

    /// Check one raw signature r‖s. Not constant-time; all its inputs are public.
    pub fn verify(&self, message: &[u8], signature: &[u8], identity: &[u8]) -> Result<()> {
        let digest = IdentityDigest::new(self, identity)?.digest(message);
        if self.accepts(&digest, signature) {
            Ok(())
        } else {
            Err(CryptoError::InvalidSignature)
        }
    }

    /// Check signature i against message i; one verdict per pair, in order. Malformed signatures are refused, not errors.
    pub fn verify_many<M: AsRef<[u8]>, S: AsRef<[u8]>>(
        &self,
        messages: &[M],
        signatures: &[S],
        identity: &[u8],
    ) -> Result<Vec<bool>> {
        if messages.len() != signatures.len() {
            let expected = format!("one per message ({})", messages.len());
            return Err(CryptoError::length(
                "signatures",
                &expected,
                signatures.len(),
            ));
        }
        let prefix = IdentityDigest::new(self, identity)?;
        let pairs = messages.iter().zip(signatures);
        Ok(pairs
            .map(|(m, s)| self.accepts(&prefix.digest(m.as_ref()), s.as_ref()))
            .collect())
    }

    /// Whether r‖s signs e = SM3(Z_A ‖ message).
    pub fn accepts(&self, digest: &[u8; 32], signature: &[u8]) -> bool {
        if signature.len() != SIGNATURE_LENGTH {
            return false;
        }
        let (Some(r), Some(s)) = (
            scalar_in_range(&signature[..32]),
            scalar_in_range(&signature[32..]),
        ) else {
            return false;
        };
        let t = r + s;
        if t.is_zero().into() {
            return false;
        }
        let public = ProjectivePoint::from(self.point);
        let sum =
            ProjectivePoint::lincomb(&ProjectivePoint::GENERATOR, &s, &public, &t).to_affine();
        if sum.is_identity().into() {
            return false;
        }
        let e = <Scalar as Reduce<U256>>::reduce_bytes(&FieldBytes::from(*digest));
        r == e + <Scalar as Reduce<U256>>::reduce_bytes(&sum.x())
    }
}

/// A scalar with 1 <= value < n, from 32 bytes.
fn scalar_in_range(bytes: &[u8]) -> Option<Scalar> {
    Option::<Scalar>::from(Scalar::from_repr(FieldBytes::clone_from_slice(bytes)))
        .filter(|scalar| !bool::from(scalar.is_zero()))
}

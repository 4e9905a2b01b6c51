//! The public key and verification (GB/T 32918.2, clause 7).

use super::comb::Comb;
use super::identity::IdentityDigest;
use super::{CHUNK, reduce};
use crate::errors::{CryptoError, Result};
use sm2::elliptic_curve::PrimeField;
use sm2::elliptic_curve::point::{AffineCoordinates, BatchNormalize};
use sm2::elliptic_curve::sec1::{FromEncodedPoint, ToEncodedPoint};
use sm2::{AffinePoint, EncodedPoint, FieldBytes, ProjectivePoint, Scalar};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

/// A public key: a point of the curve, checked when it was read, never infinity.
#[derive(Clone)]
pub struct VerifyKey {
    point: AffinePoint,
    /// Shared by the clones of a key.
    prepared: Arc<Prepared>,
}

/// The table of a key's multiples costs about as much as eight verifications, hence it waits until they have come.
#[derive(Default)]
struct Prepared {
    uses: AtomicU32,
    table: OnceLock<Comb>,
}

const USES_BEFORE_TABLE: u32 = 8;

impl VerifyKey {
    pub(super) fn from_point(point: AffinePoint) -> Self {
        Self {
            point,
            prepared: Arc::default(),
        }
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
            .map(Self::from_point)
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
        let mut verdicts = Vec::with_capacity(messages.len());
        for (messages, signatures) in messages.chunks(CHUNK).zip(signatures.chunks(CHUNK)) {
            let sums: Vec<_> = signatures
                .iter()
                .map(|signature| self.sum(signature.as_ref()))
                .collect();
            let points: Vec<_> = sums
                .iter()
                .map(|sum| sum.map_or(ProjectivePoint::IDENTITY, |(point, _)| point))
                .collect();
            let points = ProjectivePoint::batch_normalize(points.as_slice());
            verdicts.extend(messages.iter().zip(&sums).zip(&points).map(
                |((message, sum), point)| {
                    sum.is_some_and(|(_, r)| fits(&prefix.digest(message.as_ref()), &r, point))
                },
            ));
        }
        Ok(verdicts)
    }

    /// Whether r‖s signs e = SM3(Z_A ‖ message).
    pub fn accepts(&self, digest: &[u8; 32], signature: &[u8]) -> bool {
        self.sum(signature)
            .is_some_and(|(sum, r)| fits(digest, &r, &sum.to_affine()))
    }

    /// Steps B1 to B6 without the digest: s·G + t·P and r, or `None` when the signature is malformed.
    fn sum(&self, signature: &[u8]) -> Option<(ProjectivePoint, Scalar)> {
        let (r, s) = signature.split_at_checked(32)?;
        let (r, s) = (scalar_in_range(r)?, scalar_in_range(s)?);
        let t = r + s;
        if t.is_zero().into() {
            return None;
        }
        let s_g = Comb::generator().add_multiple_vartime(ProjectivePoint::IDENTITY, &s);
        Some((self.add_multiple(s_g, &t), r))
    }

    /// `sum` + t·P; by table once this key has shown that it is used again and again.
    fn add_multiple(&self, sum: ProjectivePoint, t: &Scalar) -> ProjectivePoint {
        if self.prepared.uses.fetch_add(1, Ordering::Relaxed) < USES_BEFORE_TABLE {
            return sum + ProjectivePoint::from(self.point) * t;
        }
        self.prepared
            .table
            .get_or_init(|| Comb::new(&self.point))
            .add_multiple_vartime(sum, t)
    }
}

/// Step B7: r = e + x1 modulo n. Infinity has no x1 and fits nothing.
fn fits(digest: &[u8; 32], r: &Scalar, point: &AffinePoint) -> bool {
    !bool::from(point.is_identity()) && *r == reduce(digest) + reduce(&point.x().into())
}

/// A scalar with 1 <= value < n, from exactly 32 bytes.
fn scalar_in_range(bytes: &[u8]) -> Option<Scalar> {
    let bytes: [u8; 32] = bytes.try_into().ok()?;
    Option::<Scalar>::from(Scalar::from_repr(bytes.into()))
        .filter(|scalar| !bool::from(scalar.is_zero()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sm2::{DEFAULT_IDENTITY, SigningKey};
    use ::sm2::elliptic_curve::point::DecompressPoint;
    use hex_literal::hex;

    const N: [u8; 32] = hex!("fffffffeffffffffffffffffffffffff7203df6b21c6052b53bbf40939d54123");
    const P: [u8; 32] = hex!("fffffffeffffffffffffffffffffffffffffffff00000000ffffffffffffffff");

    #[test]
    fn each_changed_byte_is_refused_with_and_without_the_table() {
        let key = SigningKey::generate().unwrap();
        let signature = key.sign(b"pay", DEFAULT_IDENTITY).unwrap();
        for round in 0..2 {
            for position in 0..64 {
                let mut changed = signature;
                changed[position] ^= 1 << (position % 8);
                let verdict = key.public_key().verify(b"pay", &changed, DEFAULT_IDENTITY);
                assert_eq!(
                    verdict,
                    Err(CryptoError::InvalidSignature),
                    "round {round}, byte {position}"
                );
            }
            key.public_key()
                .verify(b"pay", &signature, DEFAULT_IDENTITY)
                .unwrap();
        }
        assert!(key.public_key().prepared.table.get().is_some());
        assert!(
            key.public_key()
                .verify(b"pay", &signature, b"another identity")
                .is_err()
        );
        assert!(
            key.public_key()
                .verify(b"paid", &signature, DEFAULT_IDENTITY)
                .is_err()
        );
    }

    #[test]
    fn numbers_out_of_range_and_t_zero_are_refused() {
        let key = SigningKey::generate().unwrap();
        let good = key.sign(b"m", DEFAULT_IDENTITY).unwrap();
        let accepts = |signature: &[u8]| {
            key.public_key()
                .verify(b"m", signature, DEFAULT_IDENTITY)
                .is_ok()
        };
        assert!(accepts(&good));
        for bad in [[0; 32], N, P, [0xff; 32]] {
            assert!(!accepts(&[&bad, &good[32..]].concat()));
            assert!(!accepts(&[&good[..32], &bad].concat()));
        }
        let r = scalar_in_range(&good[..32]).unwrap();
        assert!(
            !accepts(&[&good[..32], (-r).to_repr().as_slice()].concat()),
            "t = r + s = 0"
        );
        for length in [0, 1, 32, 63, 65, 128] {
            assert!(!accepts(&good.repeat(2)[..length]));
        }
    }

    #[test]
    fn a_sum_at_infinity_is_refused() {
        // P = -2G and s = 2t make s·G + t·P infinity.
        let key = VerifyKey::from_point(
            (-(ProjectivePoint::GENERATOR + ProjectivePoint::GENERATOR)).to_affine(),
        );
        let t = Scalar::from(5u64);
        let s = t + t;
        let r = t - s;
        let signature = [r.to_repr(), s.to_repr()].concat();
        // With x1 read as 0, this digest would fit.
        assert!(!key.accepts(&r.to_repr().into(), &signature));
    }

    /// x1 lies between n and p once in 2^32 signatures; a verifier that forgets to reduce it refuses a good one.
    #[test]
    fn an_x_coordinate_between_n_and_p_is_reduced() {
        let (point, x) = (1..200u64)
            .find_map(|above| {
                let mut x = N;
                let low = u64::from_be_bytes(x[24..].try_into().unwrap()) + above;
                x[24..].copy_from_slice(&low.to_be_bytes());
                let point = AffinePoint::decompress(&x.into(), 0.into());
                Option::<AffinePoint>::from(point).map(|point| (ProjectivePoint::from(point), x))
            })
            .expect("every second x has a point");
        let (s, t) = (Scalar::from(11u64), Scalar::from(13u64));
        // The key P with s·G + t·P = point, and the digest that makes r = t - s the right one.
        let key = VerifyKey::from_point(
            ((point - ProjectivePoint::GENERATOR * s) * t.invert().unwrap()).to_affine(),
        );
        let r = t - s;
        let digest = (r - reduce(&x)).to_repr().into();
        assert!(key.accepts(&digest, &[r.to_repr(), s.to_repr()].concat()));
    }

    #[test]
    fn only_points_of_the_curve_are_keys() {
        let good = SigningKey::generate().unwrap().public_key().to_bytes();
        assert!(VerifyKey::from_bytes(&good).is_ok());
        assert_eq!(VerifyKey::from_bytes(&good[1..]).unwrap().to_bytes(), good);
        let mut off_curve = good;
        off_curve[64] ^= 1;
        let mut hybrid = good;
        hybrid[0] = 6 | (good[64] & 1);
        let too_large = [&[4], P.as_slice(), &good[33..]].concat();
        for bad in [
            off_curve.as_slice(),
            &hybrid,
            &too_large,
            &[0; 64],
            &[0; 65],
        ] {
            assert!(matches!(
                VerifyKey::from_bytes(bad),
                Err(CryptoError::InvalidKey(_))
            ));
        }
        for bad in [&[][..], &[0], &good[..33], &good[..63], &[4; 66]] {
            assert!(matches!(
                VerifyKey::from_bytes(bad),
                Err(CryptoError::InvalidLength(_))
            ));
        }
    }

    #[test]
    fn verdicts_of_a_batch_are_each_signature_s_own() {
        let key = SigningKey::generate().unwrap();
        for count in [0, 1, 7, 63, 64, 65, 130] {
            let messages: Vec<Vec<u8>> = (0..count)
                .map(|i| format!("line {i}").into_bytes())
                .collect();
            let mut signatures: Vec<Vec<u8>> = key
                .sign_many(&messages, DEFAULT_IDENTITY)
                .unwrap()
                .iter()
                .map(|s| s.to_vec())
                .collect();
            for (i, signature) in signatures.iter_mut().enumerate() {
                match i % 5 {
                    1 => signature[40] ^= 1,
                    3 => signature.truncate(i % 64),
                    _ => {}
                }
            }
            let verdicts = key
                .public_key()
                .verify_many(&messages, &signatures, DEFAULT_IDENTITY)
                .unwrap();
            let expected: Vec<bool> = (0..count).map(|i| !matches!(i % 5, 1 | 3)).collect();
            assert_eq!(verdicts, expected);
        }
        let unequal = key
            .public_key()
            .verify_many(&[b"m"; 2], &[[0; 64]; 3], DEFAULT_IDENTITY);
        assert!(matches!(unequal, Err(CryptoError::InvalidLength(_))));
    }

    #[test]
    fn identities_hold_up_to_8191_bytes() {
        let key = SigningKey::generate().unwrap();
        for length in [0, 1, 8191] {
            let identity = vec![b'i'; length];
            let signature = key.sign(b"m", &identity).unwrap();
            key.public_key()
                .verify(b"m", &signature, &identity)
                .unwrap();
        }
        assert!(matches!(
            key.sign(b"m", &[b'i'; 8192]),
            Err(CryptoError::InvalidLength(_))
        ));
    }
}

//! The public key and verification (GB/T 32918.2, clause 7).

use super::cache;
use super::engine::{self, Claim, Table};
use super::identity::{Identities, IdentityDigest};
use super::point::Affine;
use super::scalar::Scalar;
use super::{CHUNK, GRAIN, SIGNATURE_LENGTH};
use crate::errors::{CryptoError, Result};
use crate::threads;
use crate::tier;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A public key: a point of the curve, checked when it was read, never infinity.
///
/// Its table of multiples costs about as much as twenty verifications. It waits until they have come, and then lives in
/// a cache of bounded size; [`VerifyKey::prepare`] makes one that stays.
#[derive(Clone)]
pub struct VerifyKey {
    point: Affine,
    /// x‖y
    bytes: [u8; 64],
    identities: Identities,
    /// Verifications so far, counted for all clones.
    uses: Arc<AtomicUsize>,
    pinned: Option<Arc<Table>>,
}

const USES_BEFORE_TABLE: usize = 24;

impl VerifyKey {
    pub(super) fn from_point(point: Affine) -> Self {
        Self {
            point,
            bytes: point.to_bytes(),
            identities: Identities::default(),
            uses: Arc::default(),
            pinned: None,
        }
    }

    /// Read a key: 65 bytes 04‖x‖y, or 64 bytes x‖y as many banks send it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let coordinates = match bytes {
            [4, coordinates @ ..] if coordinates.len() == 64 => coordinates,
            _ if bytes.len() == 65 => {
                return Err(CryptoError::InvalidKey(
                    "public key: 65 bytes must begin with 04 (uncompressed)".into(),
                ));
            }
            _ => bytes,
        };
        let coordinates: &[u8; 64] = coordinates.try_into().map_err(|_| {
            CryptoError::length("public key", "64 bytes x‖y or 65 bytes 04‖x‖y", bytes.len())
        })?;
        Affine::from_bytes(coordinates)
            .map(Self::from_point)
            .ok_or_else(|| {
                CryptoError::InvalidKey("public key: not a point of the SM2 curve".into())
            })
    }

    /// 04‖x‖y, 65 bytes.
    pub fn to_bytes(&self) -> [u8; 65] {
        let mut bytes = [4; 65];
        bytes[1..].copy_from_slice(&self.bytes);
        bytes
    }

    /// The same key with its table made now and kept as long as the key lives: about 256 KiB, 2 ms.
    pub fn prepare(&self) -> Self {
        let mut prepared = self.clone();
        prepared.pinned = Some(Arc::new(Table::new(&self.point, tier::current())));
        prepared
    }

    pub(super) fn point(&self) -> &Affine {
        &self.point
    }

    /// Z_A of this key and `identity`.
    pub(super) fn bind(&self, identity: &[u8]) -> Result<IdentityDigest> {
        self.identities.bind(&self.bytes, identity)
    }

    /// e = SM3(Z_A ‖ message) of each message, in order: what a device is given to sign.
    pub fn digests<M: AsRef<[u8]>>(
        &self,
        messages: &[M],
        identity: &[u8],
    ) -> Result<Vec<[u8; 32]>> {
        Ok(self.bind(identity)?.digests(messages))
    }

    /// Check one raw signature r‖s. Not constant-time; all its inputs are public.
    pub fn verify(&self, message: &[u8], signature: &[u8], identity: &[u8]) -> Result<()> {
        self.verify_digest(&self.bind(identity)?.digest(message), signature)
    }

    /// The same, given e = SM3(Z_A ‖ message).
    pub fn verify_digest(&self, digest: &[u8; 32], signature: &[u8]) -> Result<()> {
        if self.accepts(digest, signature) {
            Ok(())
        } else {
            Err(CryptoError::InvalidSignature)
        }
    }

    /// Check signature i against message i; one verdict per pair, in order. Malformed signatures are refused, not errors.
    pub fn verify_many<M: AsRef<[u8]> + Sync, S: AsRef<[u8]> + Sync>(
        &self,
        messages: &[M],
        signatures: &[S],
        identity: &[u8],
    ) -> Result<Vec<bool>> {
        check_counts("messages", messages.len(), signatures.len())?;
        let prefix = self.bind(identity)?;
        let table = self.table(messages.len());
        threads::share(messages.len(), GRAIN, |range| {
            let mut verdicts = Vec::with_capacity(range.len());
            let chunks = messages[range.clone()].chunks(CHUNK);
            for (messages, signatures) in chunks.zip(signatures[range].chunks(CHUNK)) {
                let digests = prefix.digests(messages);
                verdicts.extend(self.check(&digests, signatures, table.as_deref()));
            }
            Ok(verdicts)
        })
    }

    /// Check signature i against e_i = SM3(Z_A ‖ message i); one verdict per pair, in order.
    pub fn verify_digests<S: AsRef<[u8]> + Sync>(
        &self,
        digests: &[[u8; 32]],
        signatures: &[S],
    ) -> Result<Vec<bool>> {
        check_counts("digests", digests.len(), signatures.len())?;
        let table = self.table(digests.len());
        threads::share(digests.len(), GRAIN, |range| {
            Ok(self.check(
                &digests[range.clone()],
                &signatures[range],
                table.as_deref(),
            ))
        })
    }

    /// Whether r‖s signs e = SM3(Z_A ‖ message).
    pub fn accepts(&self, digest: &[u8; 32], signature: &[u8]) -> bool {
        let table = self.table(1);
        self.check(&[*digest], &[signature], table.as_deref()) == [true]
    }

    fn check<S: AsRef<[u8]>>(
        &self,
        digests: &[[u8; 32]],
        signatures: &[S],
        table: Option<&Table>,
    ) -> Vec<bool> {
        let claims: Vec<Option<Claim>> = digests
            .iter()
            .zip(signatures)
            .map(|(digest, signature)| claim(digest, signature.as_ref()))
            .collect();
        let Some(table) = table else {
            return claims
                .iter()
                .map(|claim| {
                    claim.is_some_and(|claim| engine::check_unprepared(&self.point, &claim))
                })
                .collect();
        };
        // A malformed signature keeps its place in the lanes, so that the others keep theirs.
        let asked: Vec<Claim> = claims
            .iter()
            .map(|claim| claim.unwrap_or(Claim::DUMMY))
            .collect();
        engine::check(&self.point, table, &asked)
            .into_iter()
            .zip(&claims)
            .map(|(holds, claim)| holds && claim.is_some())
            .collect()
    }

    /// The table of this key, once it has shown that it is used again and again.
    fn table(&self, count: usize) -> Option<Arc<Table>> {
        let tier = tier::current();
        if let Some(table) = self.pinned.as_ref().filter(|table| table.serves(tier)) {
            return Some(table.clone());
        }
        let uses = self.uses.fetch_add(count, Ordering::Relaxed);
        (uses.saturating_add(count) > USES_BEFORE_TABLE)
            .then(|| cache::table(&self.bytes, &self.point, tier))
    }
}

fn check_counts(what: &str, count: usize, signatures: usize) -> Result<()> {
    if count == signatures {
        return Ok(());
    }
    let expected = format!("one per {} ({count})", &what[..what.len() - 1]);
    Err(CryptoError::length("signatures", &expected, signatures))
}

/// Steps B1 to B5: what the signature claims, or `None` when it is malformed.
fn claim(digest: &[u8; 32], signature: &[u8]) -> Option<Claim> {
    let signature: &[u8; SIGNATURE_LENGTH] = signature.try_into().ok()?;
    let (halves, _) = signature.as_chunks::<32>();
    let r = Scalar::from_bytes_nonzero(&halves[0])?;
    let s = Scalar::from_bytes_nonzero(&halves[1])?;
    let t = r.add(&s);
    let v = r.sub(&Scalar::reduce_bytes(digest));
    (!t.is_zero()).then_some(Claim { s, t, v })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sm2::point::{Jacobian, multiply_vartime};
    use crate::sm2::tests::tiers;
    use crate::sm2::{DEFAULT_IDENTITY, SigningKey};
    use ::sm2::elliptic_curve::point::DecompressPoint;
    use ::sm2::elliptic_curve::sec1::ToEncodedPoint;
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
        assert!(key.public_key().table(0).is_some());
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
        let r = Scalar::from_bytes(good[..32].try_into().unwrap()).unwrap();
        let minus_r = r.negate().to_bytes();
        assert!(!accepts(&[&good[..32], &minus_r].concat()), "t = r + s = 0");
        for length in [0, 1, 32, 63, 65, 128] {
            assert!(!accepts(&good.repeat(2)[..length]));
        }
    }

    /// The verdict of each tier with a table, and the one without.
    fn verdicts(key: &VerifyKey, digest: &[u8; 32], r: &Scalar, s: &Scalar) -> Vec<bool> {
        let signature = [r.to_bytes(), s.to_bytes()].concat();
        let check = |table: Option<&Table>| key.check(&[*digest], &[&signature], table)[0];
        let tables = tiers().into_iter().map(|tier| Table::new(&key.point, tier));
        let mut verdicts: Vec<bool> = tables.map(|table| check(Some(&table))).collect();
        verdicts.push(check(None));
        verdicts
    }

    /// The key P with s·G + t·P = point.
    fn key_for(point: &Affine, s: &Scalar, t: &Scalar) -> VerifyKey {
        let minus_s_g = multiply_vartime(&Affine::generator(), &s.negate());
        let t_p = Jacobian::from(point).add(&minus_s_g).to_affine().unwrap();
        VerifyKey::from_point(multiply_vartime(&t_p, &t.invert()).to_affine().unwrap())
    }

    #[test]
    fn a_sum_at_infinity_is_refused() {
        // P = -2G and s = 2t make s·G + t·P infinity.
        let point = Jacobian::from(&Affine::generator().negate()).double();
        let key = VerifyKey::from_point(point.to_affine().unwrap());
        let t = Scalar::from(5);
        let s = t.add(&t);
        let r = t.sub(&s);
        // With x1 read as 0, this digest would fit.
        let refused = verdicts(&key, &r.to_bytes(), &r, &s);
        assert!(refused.iter().all(|verdict| !verdict));
    }

    /// With P = G the two combs meet equal and opposite points on the way; the sums are right all the same.
    #[test]
    fn keys_that_make_the_combs_meet_are_verified_all_the_same() {
        for factor in [1u64, 2, 3, 256, 511] {
            for negative in [false, true] {
                let d = Scalar::from(factor);
                let d = if negative { d.negate() } else { d };
                let point = multiply_vartime(&Affine::generator(), &d).to_affine();
                let key = VerifyKey::from_point(point.unwrap());
                for (s, t) in [(1u64, 1u64), (7, 7), (1, 256), (256, 1), (9, 3), (3, 9)] {
                    let (s, t) = (Scalar::from(s), Scalar::from(t));
                    let sum = s.add(&t.mul(&d));
                    let r = t.sub(&s);
                    if sum.is_zero() || r.is_zero() {
                        continue;
                    }
                    let sum = multiply_vartime(&Affine::generator(), &sum).to_affine();
                    let x = Scalar::reduce(&sum.unwrap().x.to_words());
                    let digest = r.sub(&x).to_bytes();
                    let accepted = verdicts(&key, &digest, &r, &s);
                    assert!(accepted.iter().all(|verdict| *verdict), "{factor}");
                }
            }
        }
    }

    /// x1 lies between n and p about once in 2^128 signatures; a verifier that forgets to reduce it refuses a good one.
    #[test]
    fn an_x_coordinate_between_n_and_p_is_reduced() {
        let (point, x) = (1..200u64)
            .find_map(|above| {
                let mut x = N;
                let low = u64::from_be_bytes(x[24..].try_into().unwrap()) + above;
                x[24..].copy_from_slice(&low.to_be_bytes());
                let point = ::sm2::AffinePoint::decompress(&x.into(), 0.into());
                let point = Option::<::sm2::AffinePoint>::from(point)?.to_encoded_point(false);
                let bytes = point.as_bytes()[1..].try_into().unwrap();
                Some((Affine::from_bytes(&bytes).unwrap(), x))
            })
            .expect("every second x has a point");
        let (s, t) = (Scalar::from(11), Scalar::from(13));
        // The digest that makes r = t - s the right one.
        let key = key_for(&point, &s, &t);
        let r = t.sub(&s);
        let digest = r.sub(&Scalar::reduce_bytes(&x)).to_bytes();
        assert!(
            verdicts(&key, &digest, &r, &s)
                .iter()
                .all(|verdict| *verdict)
        );
    }

    #[test]
    fn lanes_that_need_the_slow_way_do_not_touch_their_neighbours() {
        let point = Jacobian::from(&Affine::generator().negate()).double();
        let key = VerifyKey::from_point(point.to_affine().unwrap());
        // d = -2: sign by hand with k = i + 3, and put a sum at infinity into every third place.
        let d = Scalar::from(2).negate();
        for tier in tiers() {
            let table = Table::new(&key.point, tier);
            for count in [1, 7, 8, 9, 63, 64, 65] {
                let (claims, expected): (Vec<_>, Vec<_>) = (0..count)
                    .map(|i| {
                        let t = Scalar::from(2 * i + 5);
                        if i % 3 == 1 {
                            let s = t.add(&t);
                            return (
                                Claim {
                                    s,
                                    t,
                                    v: Scalar::ONE,
                                },
                                false,
                            );
                        }
                        let s = Scalar::from(i + 3).sub(&t.mul(&d));
                        let k_g = multiply_vartime(&Affine::generator(), &Scalar::from(i + 3));
                        let v = Scalar::reduce(&k_g.to_affine().unwrap().x.to_words());
                        let wrong = if i % 5 == 2 {
                            Scalar::ONE
                        } else {
                            Scalar::ZERO
                        };
                        (
                            Claim {
                                s,
                                t,
                                v: v.add(&wrong),
                            },
                            i % 5 != 2,
                        )
                    })
                    .unzip();
                assert_eq!(engine::check(&key.point, &table, &claims), expected);
            }
        }
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
        for count in [0, 1, 7, 8, 9, 63, 64, 65, 1000] {
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

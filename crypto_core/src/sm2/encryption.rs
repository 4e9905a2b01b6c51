//! Encryption to a public key (GB/T 32918.4): C1 ‖ C3 ‖ C2, and reading of the older order C1 ‖ C2 ‖ C3.
//!
//! C1 is the point k·G as 04‖x‖y, C3 the digest SM3(x2 ‖ M ‖ y2), C2 the plaintext under KDF(x2 ‖ y2), (x2, y2) = k·P.

use super::comb;
use super::nonce::Nonces;
use super::point::{self, Affine};
use super::{SigningKey, VerifyKey};
use crate::errors::{CryptoError, Result};
use crate::sm3::{self, HmacSm3, Sm3};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

/// Bytes of a ciphertext beyond those of its plaintext: C1 with its 04, and C3.
pub const OVERHEAD: usize = 97;
const POINT_LENGTH: usize = 65;

/// The order of a ciphertext's parts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// As the standard of 2012 and later has it.
    C1C3C2,
    /// As the draft of 2010 had it; some banks still send it.
    C1C2C3,
}

impl VerifyKey {
    /// Seal `plaintext` (at least 1 byte) for the holder of the private key. Constant-time in the nonce.
    pub fn encrypt(&self, plaintext: &[u8], order: Order) -> Result<Vec<u8>> {
        if plaintext.is_empty() {
            return Err(CryptoError::length("plaintext", "at least 1 byte", 0));
        }
        // Hedged as for signatures: with a broken generator, other plaintexts or keys still get other nonces.
        let mut nonces = Nonces::new(&HmacSm3::new(plaintext))?;
        let key = sm3::digest(&self.to_bytes());
        loop {
            let k = Zeroizing::new(nonces.draw(&key));
            let mut points = Zeroizing::new([
                comb::multiply_generator(&k),
                point::multiply(self.point(), &k),
            ]);
            let affine = points.each_ref().map(|point| point.to_affine());
            points.zeroize();
            if let [Some(c1), Some(shared)] = affine
                && let Some(sealed) = seal(&c1, &Zeroizing::new(shared), plaintext, order)
            {
                return Ok(sealed);
            }
        }
    }
}

/// `None` when the key stream is all zero and the standard asks for another k.
fn seal(c1: &Affine, shared: &Affine, plaintext: &[u8], order: Order) -> Option<Vec<u8>> {
    let (x2, y2) = coordinates(shared);
    let stream = key_stream(&x2, &y2, plaintext.len())?;
    let c3 = check_digest(&x2, plaintext, &y2);
    let c2 = plaintext
        .iter()
        .zip(stream.iter())
        .map(|(byte, key)| byte ^ key);
    let mut sealed = Vec::with_capacity(plaintext.len() + OVERHEAD);
    sealed.push(4);
    sealed.extend(c1.to_bytes());
    if order == Order::C1C3C2 {
        sealed.extend(c3);
    }
    sealed.extend(c2);
    if order == Order::C1C2C3 {
        sealed.extend(c3);
    }
    Some(sealed)
}

impl SigningKey {
    /// Open what [`VerifyKey::encrypt`] made. `DecryptionFailed` for every cause alike: wrong key, a point off the curve, a
    /// damaged or too short ciphertext. Constant-time in the private key and the plaintext.
    pub fn decrypt(&self, ciphertext: &[u8], order: Order) -> Result<Zeroizing<Vec<u8>>> {
        self.open(ciphertext, order)
            .ok_or(CryptoError::DecryptionFailed)
    }

    fn open(&self, ciphertext: &[u8], order: Order) -> Option<Zeroizing<Vec<u8>>> {
        if ciphertext.len() <= OVERHEAD {
            return None;
        }
        let (c1, rest) = ciphertext.split_at_checked(POINT_LENGTH)?;
        let [4, c1 @ ..] = c1 else { return None };
        let (c2, c3) = match order {
            Order::C1C3C2 => {
                let (c3, c2) = rest.split_at_checked(sm3::DIGEST_LENGTH)?;
                (c2, c3)
            }
            Order::C1C2C3 => rest.split_at_checked(rest.len().checked_sub(sm3::DIGEST_LENGTH)?)?,
        };
        let c1 = Affine::from_bytes(c1.try_into().ok()?)?;
        let shared = Zeroizing::new(point::multiply(&c1, self.scalar()));
        let shared = Zeroizing::new(shared.to_affine()?);
        let (x2, y2) = coordinates(&shared);
        let stream = key_stream(&x2, &y2, c2.len())?;
        let mut plaintext = Zeroizing::new(Vec::with_capacity(c2.len()));
        plaintext.extend(c2.iter().zip(stream.iter()).map(|(byte, key)| byte ^ key));
        let expected = check_digest(&x2, &plaintext, &y2);
        bool::from(expected.ct_eq(c3)).then_some(plaintext)
    }
}

fn coordinates(point: &Affine) -> (Zeroizing<[u8; 32]>, Zeroizing<[u8; 32]>) {
    (
        Zeroizing::new(point.x.to_bytes()),
        Zeroizing::new(point.y.to_bytes()),
    )
}

fn check_digest(x2: &[u8; 32], plaintext: &[u8], y2: &[u8; 32]) -> [u8; 32] {
    let mut sm3 = Sm3::new();
    sm3.update(x2);
    sm3.update(plaintext);
    sm3.update(y2);
    sm3.finish()
}

/// KDF of GB/T 32918.4 clause 5.4.3: SM3(x2 ‖ y2 ‖ 1) ‖ SM3(x2 ‖ y2 ‖ 2) ‖ …, `length` bytes; `None` when all are zero.
fn key_stream(x2: &[u8; 32], y2: &[u8; 32], length: usize) -> Option<Zeroizing<Vec<u8>>> {
    let blocks = u32::try_from(length.div_ceil(sm3::DIGEST_LENGTH)).ok()?;
    let mut stream = Zeroizing::new(Vec::with_capacity(blocks as usize * sm3::DIGEST_LENGTH));
    let mut prefix = Sm3::new();
    prefix.update(x2);
    prefix.update(y2);
    for counter in 1..=blocks {
        let mut block = prefix.clone();
        block.update(&counter.to_be_bytes());
        stream.extend_from_slice(Zeroizing::new(block.finish()).as_ref());
    }
    stream.truncate(length);
    let any = stream.iter().fold(0, |any, byte| any | byte);
    (any != 0).then_some(stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sm2::scalar::Scalar;
    use crate::sm2::tests::random_words;
    use crate::tier;
    use ::sm2::elliptic_curve::PrimeField;
    use ::sm2::elliptic_curve::sec1::ToEncodedPoint;
    use ::sm2::{ProjectivePoint as TheirPoint, Scalar as TheirScalar};
    use ::sm3::Digest as _;
    use hex_literal::hex;

    /// GB/T 32918.5-2017, annex C: "encryption standard".
    #[test]
    fn the_sample_of_the_standard_is_made_and_opened_bit_for_bit() {
        let key = SigningKey::from_bytes(&hex!(
            "3945208f7b2144b13f36e38ac6d39f95889393692860b51a42fb81ef4df7c5b8"
        ))
        .unwrap();
        let k = hex!("59276e27d506861a16680f3ad9c02dccef3cc1fa3cdbe4ce6d54b80deac1bc21");
        let k = Scalar::from_bytes(&k).unwrap();
        let expected = hex!(
            "04"
            "04ebfc718e8d1798620432268e77feb6415e2ede0e073c0f4f640ecd2e149a73"
            "e858f9d81e5430a57b36daab8f950a3c64e6ee6a63094d99283aff767e124df0"
            "59983c18f809e262923c53aec295d30383b54e39d609d160afcb1908d0bd8766"
            "21886ca989ca9c7d58087307ca93092d651efa"
        );
        let c1 = comb::multiply_generator(&k).to_affine().unwrap();
        let shared = point::multiply(key.public_key().point(), &k);
        let shared = shared.to_affine().unwrap();
        let sealed = seal(&c1, &shared, b"encryption standard", Order::C1C3C2);
        assert_eq!(sealed.as_deref(), Some(expected.as_slice()));
        let opened = key.decrypt(&expected, Order::C1C3C2).unwrap();
        assert_eq!(opened.as_slice(), b"encryption standard");
    }

    #[test]
    fn any_change_and_any_length_is_refused_without_a_reason() {
        let key = SigningKey::generate().unwrap();
        for order in [Order::C1C3C2, Order::C1C2C3] {
            let sealed = key.public_key().encrypt(b"salary list", order).unwrap();
            assert_eq!(sealed.len(), 11 + OVERHEAD);
            let opened = key.decrypt(&sealed, order).unwrap();
            assert_eq!(opened.as_slice(), b"salary list");
            for position in 0..sealed.len() {
                let mut changed = sealed.clone();
                changed[position] ^= 1 << (position % 8);
                let refused = key.decrypt(&changed, order).err();
                assert_eq!(refused, Some(CryptoError::DecryptionFailed));
                assert!(key.decrypt(&sealed[..position], order).is_err());
            }
            let other = SigningKey::generate().unwrap();
            assert!(other.decrypt(&sealed, order).is_err());
        }
        assert!(key.public_key().encrypt(b"", Order::C1C3C2).is_err());
    }

    #[test]
    fn every_length_comes_back() {
        let key = SigningKey::generate().unwrap();
        for length in [1, 31, 32, 33, 64, 1000] {
            let plaintext = vec![length as u8; length];
            let sealed = key.public_key().encrypt(&plaintext, Order::C1C3C2).unwrap();
            let opened = key.decrypt(&sealed, Order::C1C3C2).unwrap();
            assert_eq!(*opened, plaintext);
        }
    }

    /// 100,000 ciphertexts made of RustCrypto's points and digests, each tier forced in turn: ours are the same byte for byte, and are
    /// opened, every second one damaged. Of the tiers only the digest's differ here, so each takes its share.
    #[test]
    fn ciphertexts_are_those_of_another_implementation_and_are_opened() {
        const RUNS: usize = 100;
        let key = SigningKey::generate().unwrap();
        let _guard = tier::tests::one_at_a_time();
        let tiers: Vec<_> = tier::available().collect();
        for (turn, forced) in tiers.iter().enumerate() {
            assert!(tier::force(Some(*forced)));
            let runs: Vec<usize> = (turn..RUNS).step_by(tiers.len()).collect();
            std::thread::scope(|scope| {
                for half in runs.chunks(runs.len().div_ceil(2)) {
                    scope.spawn(|| half.iter().for_each(|run| agree(&key, *run)));
                }
            });
        }
        tier::force(None);
    }

    /// One run: k, k + q, k + 2q, …, whose points follow one another by additions.
    fn agree(key: &SigningKey, run: usize) {
        let numbers = random_words(2 * (run + 1)).split_off(2 * run);
        let [first, step] = [0, 1].map(|i| theirs(&Scalar::reduce(&numbers[i])));
        let bases = [
            TheirPoint::GENERATOR,
            TheirPoint::GENERATOR * theirs(key.scalar()),
        ];
        let steps = bases.map(|base| base * step);
        let mut points = bases.map(|base| base * first);
        let mut their_k = first;
        for i in 0..1_000 {
            let [c1, shared] = points.map(|point| {
                let encoded = point.to_affine().to_encoded_point(false);
                <[u8; 65]>::try_from(encoded.as_bytes()).unwrap()
            });
            // A shorter text has a key stream of zeros now and then, for which the standard asks for another k.
            let text = &TEXT[i % 7..][..16 + i % 84];
            let order = [Order::C1C3C2, Order::C1C2C3][i / 2 % 2];
            let mut expected = their_ciphertext(&c1, &shared, text, order);

            let k = Scalar::from_bytes(&their_k.to_repr().into()).unwrap();
            let ours = [
                comb::multiply_generator(&k),
                point::multiply(key.public_key().point(), &k),
            ]
            .map(|point| point.to_affine().unwrap());
            let sealed = seal(&ours[0], &ours[1], text, order);
            assert_eq!(sealed.as_ref(), Some(&expected), "run {run}, case {i}");

            let damaged = i % 2 == 1;
            if damaged {
                let place = (i * 31 + run) % expected.len();
                expected[place] ^= 1 << (i / 2 % 8);
            }
            let opened = key.decrypt(&expected, order).ok();
            let opened = opened.as_ref().map(|text| text.as_slice());
            assert_eq!(opened, (!damaged).then_some(text), "run {run}, case {i}");

            their_k += step;
            points = [points[0] + steps[0], points[1] + steps[1]];
        }
    }

    const TEXT: &[u8; 107] = &[0x3c; 107];

    fn theirs(scalar: &Scalar) -> TheirScalar {
        TheirScalar::from_repr(scalar.to_bytes().into()).unwrap()
    }

    /// By clause 6.1 of GB/T 32918.4, from the encoded points k·G and k·P.
    fn their_ciphertext(c1: &[u8; 65], shared: &[u8; 65], text: &[u8], order: Order) -> Vec<u8> {
        let digest = |parts: &[&[u8]]| ::sm3::Sm3::digest(parts.concat());
        let (x2, y2) = (&shared[1..33], &shared[33..]);
        let stream = (1..=4u32).flat_map(|i| digest(&[x2, y2, &i.to_be_bytes()]));
        let c2: Vec<u8> = text
            .iter()
            .zip(stream)
            .map(|(byte, key)| byte ^ key)
            .collect();
        let c3 = digest(&[x2, text, y2]);
        match order {
            Order::C1C3C2 => [&c1[..], &c3, &c2].concat(),
            Order::C1C2C3 => [&c1[..], &c2, &c3].concat(),
        }
    }
}

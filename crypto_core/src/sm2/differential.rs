//! 100,000 cases of each operation against RustCrypto's `sm2`, each tier forced. What the other implementation says is computed
//! once: its points follow one another by additions, which is a hundred times faster than multiplying each time.

use super::engine::{self, Claim, Table};
use super::point::Affine;
use super::scalar::Scalar;
use super::signing::SigningKey;
use super::tests::{edge_scalars, in_each_tier, random_words, tiers};
use super::words::{self, Words};
use ::sm2::dsa::Signature;
use ::sm2::dsa::signature::hazmat::PrehashVerifier;
use ::sm2::elliptic_curve::PrimeField;
use ::sm2::elliptic_curve::sec1::ToEncodedPoint;
use ::sm2::{ProjectivePoint, Scalar as TheirScalar};

const CASES: usize = 100_000;
/// Cases that follow one another by additions.
const RUN: usize = 1_000;

fn theirs(scalar: &Scalar) -> TheirScalar {
    TheirScalar::from_repr(scalar.to_bytes().into()).unwrap()
}

fn ours(scalar: &TheirScalar) -> Scalar {
    Scalar::from_bytes(&scalar.to_repr().into()).unwrap()
}

fn digest(i: usize) -> [u8; 32] {
    crate::sm3::digest(&(i as u64 + 1_000_000).to_le_bytes())
}

/// k, and the x coordinate of k·G as they compute it.
struct Nonce {
    k: TheirScalar,
    x: [u8; 32],
}

/// Edge numbers first, then runs of k, k + q, k + 2q, … with random k and q.
fn nonces() -> Vec<Nonce> {
    let edges: Vec<TheirScalar> = edge_scalars().iter().map(theirs).collect();
    let random = random_words(2 * (CASES / RUN + 1));
    let random: Vec<TheirScalar> = random
        .iter()
        .map(|value| theirs(&Scalar::reduce(value)))
        .collect();
    let mut points: Vec<(TheirScalar, ProjectivePoint)> = edges
        .iter()
        .map(|k| (*k, ProjectivePoint::GENERATOR * k))
        .collect();
    for pair in random.chunks_exact(2) {
        let (mut k, mut point) = (pair[0], ProjectivePoint::GENERATOR * pair[0]);
        let step = ProjectivePoint::GENERATOR * pair[1];
        for _ in 0..RUN {
            points.push((k, point));
            (k, point) = (k + pair[1], point + step);
        }
    }
    points.truncate(CASES);
    points
        .iter()
        .map(|(k, point)| {
            let encoded = point.to_affine().to_encoded_point(false);
            let x = (*encoded.x().unwrap()).into();
            Nonce { k: *k, x }
        })
        .collect()
}

/// r‖s by clause 6.1 of GB/T 32918.2, in their arithmetic; x and e are below 2^256 < 2n.
fn their_signature(d: &TheirScalar, digest: &[u8; 32], nonce: &Nonce) -> [u8; 64] {
    let reduced = |bytes: &[u8; 32]| theirs(&Scalar::reduce_bytes(bytes));
    let r = reduced(digest) + reduced(&nonce.x);
    let s = (TheirScalar::ONE + d).invert().unwrap() * (nonce.k - r * d);
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&r.to_repr());
    signature[32..].copy_from_slice(&s.to_repr());
    signature
}

/// Points, signatures, and what becomes of them when something is changed.
#[test]
fn points_signatures_and_verdicts_are_theirs_in_each_tier() {
    let nonces = nonces();
    let numbers: Vec<Scalar> = nonces.iter().map(|nonce| ours(&nonce.k)).collect();
    let expected: Vec<Words> = nonces
        .iter()
        .map(|nonce| words::from_bytes(&nonce.x))
        .collect();
    for points in in_each_tier(|| engine::nonce_points(&numbers)) {
        for (i, (point, expected)) in points.iter().zip(&expected).enumerate() {
            assert_eq!(point.as_ref(), Some(expected), "case {i}");
        }
    }

    let key = SigningKey::generate().unwrap();
    let d = theirs(key.scalar());
    let signatures: Vec<[u8; 64]> = (0..CASES)
        .map(|i| their_signature(&d, &digest(i), &nonces[i]))
        .collect();
    for (i, signature) in signatures.iter().enumerate() {
        let made = key.finish(&digest(i), &numbers[i], &expected[i]);
        assert_eq!(made.as_ref(), Some(signature), "case {i}");
    }
    verdicts_are_theirs(&key, signatures);
}

/// Half of the cases are changed in one bit of r, s or e, or by a swap; all are then asked of them and of us.
fn verdicts_are_theirs(key: &SigningKey, mut signatures: Vec<[u8; 64]>) {
    let mut digests: Vec<[u8; 32]> = (0..CASES).map(digest).collect();
    for i in (0..CASES).step_by(2) {
        let bit = usize::from(digest(i)[0]) * 2 % 512;
        match i / 2 % 4 {
            0 => digests[i][bit % 32] ^= 1 << (bit % 8),
            1 => signatures[i].rotate_left(32),
            _ => signatures[i][bit / 8] ^= 1 << (bit % 8),
        }
    }
    let their_key =
        ::sm2::dsa::VerifyingKey::from_sec1_bytes("", &key.public_key().to_bytes()).unwrap();
    let ask = |range: std::ops::Range<usize>| -> Vec<bool> {
        let verdict = |i: usize| {
            Signature::from_slice(&signatures[i])
                .is_ok_and(|signature| their_key.verify_prehash(&digests[i], &signature).is_ok())
        };
        range.map(verdict).collect()
    };
    let expected = std::thread::scope(|scope| {
        let second = scope.spawn(|| ask(CASES / 2..CASES));
        let mut verdicts = ask(0..CASES / 2);
        verdicts.extend(second.join().unwrap());
        verdicts
    });
    assert_eq!(
        expected.iter().filter(|verdict| **verdict).count(),
        CASES / 2
    );
    for verdicts in in_each_tier(|| {
        key.public_key()
            .verify_digests(&digests, &signatures)
            .unwrap()
    }) {
        let wrong = verdicts
            .iter()
            .zip(&expected)
            .position(|(ours, theirs)| ours != theirs);
        assert_eq!(wrong, None);
    }
}

/// Checks of claims with small and edge numbers, at which sums meet equal and opposite points, for keys that are small multiples
/// of G: with the table of each tier and without one, in batches of all sizes.
#[test]
fn edge_claims_have_their_verdict_in_each_tier_and_batch_size() {
    let numbers = edge_scalars();
    let picked = |i: usize| numbers[i * 7 % numbers.len()];
    for d in [1u64, 2, 3, 15] {
        let d = Scalar::from(d);
        let point = Affine::from_bytes(
            &(ProjectivePoint::GENERATOR * theirs(&d))
                .to_affine()
                .to_encoded_point(false)
                .as_bytes()[1..]
                .try_into()
                .unwrap(),
        )
        .unwrap();
        let claims: Vec<(Claim, bool)> = (0..1000)
            .map(|i| {
                let (s, t) = (picked(i), picked(i / numbers.len() + i));
                let sum = ProjectivePoint::GENERATOR * (theirs(&s) + theirs(&t) * theirs(&d));
                let encoded = sum.to_affine().to_encoded_point(false);
                let x: Option<[u8; 32]> = encoded.x().map(|x| (*x).into());
                let v = Scalar::reduce_bytes(&x.unwrap_or_default());
                let wrong = i % 3 == 0;
                let v = if wrong { v.add(&Scalar::ONE) } else { v };
                (Claim { s, t, v }, x.is_some() && !wrong)
            })
            .collect();
        for tier in tiers() {
            let table = Table::new(&point, tier);
            for count in [0, 1, 7, 8, 9, 63, 64, 65, 1000] {
                let (asked, expected): (Vec<Claim>, Vec<bool>) =
                    claims[..count].iter().copied().unzip();
                assert_eq!(
                    engine::check(&point, &table, &asked),
                    expected,
                    "{tier:?}, {count}"
                );
            }
        }
        for (claim, expected) in claims {
            assert_eq!(engine::check_unprepared(&point, &claim), expected);
        }
    }
}

#[test]
fn inverses_are_inverses_in_the_other_arithmetic() {
    use super::field::{Fe, P};
    use fiat_crypto::sm2_64::{fiat_sm2_montgomery_domain_field_element as Theirs, fiat_sm2_mul};
    for value in random_words(CASES) {
        let element = Fe::from_montgomery_words(words::subtract_once(&value, false, &P));
        let mut product = Theirs([0; 4]);
        let inverse = element.invert().montgomery_words();
        fiat_sm2_mul(
            &mut product,
            &Theirs(element.montgomery_words()),
            &Theirs(inverse),
        );
        assert_eq!(product.0, Fe::ONE.montgomery_words());
        let scalar = Scalar::reduce(&value);
        assert_eq!(theirs(&scalar) * theirs(&scalar.invert()), TheirScalar::ONE);
    }
}

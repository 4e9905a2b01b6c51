//! Key files: PKCS#8 (RFC 5958), plain and encrypted, and SubjectPublicKeyInfo (RFC 5280), each in PEM or DER.

mod pbes2;

pub use pbes2::{ITERATIONS_DEFAULT, ITERATIONS_MAX, ITERATIONS_MIN, Suite};

use crate::errors::{CryptoError, Result};
use crate::memory::Locked;
use crate::sm2::{SigningKey, VerifyKey};
use der::asn1::{BitStringRef, ObjectIdentifier};
use der::pem::LineEnding;
use der::{AnyRef, Decode, Encode};
use sec1::EcPrivateKey;
use spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};
use zeroize::Zeroizing;

const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const SM2_CURVE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.156.10197.1.301");
const PBES2_LABEL: &str = "ENCRYPTED PRIVATE KEY";
const PLAIN_LABEL: &str = "PRIVATE KEY";
const PUBLIC_LABEL: &str = "PUBLIC KEY";
const PEM_BEGIN: &[u8] = b"-----BEGIN ";

/// A private key on pages of its own.
pub type LockedKey = Locked<SigningKey>;

/// Seal `key` in an EncryptedPrivateKeyInfo in PEM. `iterations` from [`ITERATIONS_MIN`] to [`ITERATIONS_MAX`].
pub fn to_encrypted_pem(
    key: &SigningKey,
    password: &[u8],
    iterations: u32,
    suite: Suite,
) -> Result<String> {
    let sealed = pbes2::seal(&encode_key(key)?, password, iterations, suite)?;
    to_pem(PBES2_LABEL, &sealed)
}

/// Open what [`to_encrypted_pem`], GmSSL or `openssl pkcs8 -topk8 -v2 aes-256-cbc -iter 100000` wrote.
pub fn from_encrypted_pem(pem: &[u8], password: &[u8]) -> Result<LockedKey> {
    match from_pem(pem)? {
        (PBES2_LABEL, der) => open_sealed(&der, password),
        _ => Err(malformed(PBES2_LABEL)),
    }
}

/// Read an SM2 private key from PKCS#8 in PEM or DER, plain (`password` is `None`) or encrypted.
///
/// `InvalidKey` for a malformed file, another kind of key, weak encryption, or a password where none belongs;
/// `DecryptionFailed` for a wrong password or damaged contents.
pub fn read_private_key(data: &[u8], password: Option<&[u8]>) -> Result<LockedKey> {
    match password {
        None => decode_key(&open_pkcs8(data, None)?).ok_or_else(|| {
            CryptoError::InvalidKey(
                "key file: not an SM2 private key (id-ecPublicKey with the curve 1.2.156.10197.1.301)".into(),
            )
        }),
        Some(password) => decode_key(&open_pkcs8(data, Some(password))?)
            .ok_or(CryptoError::DecryptionFailed),
    }
}

/// Open a PKCS#8 file of any kind of key: the PrivateKeyInfo inside, in DER.
pub fn open_pkcs8(data: &[u8], password: Option<&[u8]>) -> Result<Zeroizing<Vec<u8>>> {
    let (is_sealed, der) = match data.trim_ascii_start().starts_with(PEM_BEGIN) {
        true => match from_pem(data)? {
            (PBES2_LABEL, der) => (true, der),
            (PLAIN_LABEL, der) => (false, der),
            _ => return Err(malformed("PRIVATE KEY\" or \"ENCRYPTED PRIVATE KEY")),
        },
        false => (pbes2::is_sealed(data), Zeroizing::new(data.to_vec())),
    };
    match (is_sealed, password) {
        (true, Some(password)) => pbes2::open(&der, password),
        (false, None) => Ok(der),
        (true, None) => Err(CryptoError::InvalidKey(
            "key file: encrypted; give its password".into(),
        )),
        // A file that was meant to be protected and is not must not go unnoticed.
        (false, Some(_)) => Err(CryptoError::InvalidKey(
            "key file: a password was given, but this is no encrypted PKCS#8; seal the key, or give no password".into(),
        )),
    }
}

/// The PBKDF2 iterations that an encrypted PKCS#8 file in PEM or DER asks for; no password is needed.
pub fn iterations_of(data: &[u8]) -> Result<u32> {
    match data.trim_ascii_start().starts_with(PEM_BEGIN) {
        true => pbes2::iterations(&from_pem(data)?.1),
        false => pbes2::iterations(data),
    }
}

/// PrivateKeyInfo in DER, unencrypted: for another keystore only.
pub fn to_pkcs8(key: &SigningKey) -> Result<Zeroizing<Vec<u8>>> {
    encode_key(key)
}

/// SubjectPublicKeyInfo in DER, 91 bytes.
pub fn public_key_to_der(key: &VerifyKey) -> Result<Vec<u8>> {
    let unexpected = |_| CryptoError::InvalidKey("key cannot be encoded".into());
    let point = key.to_bytes();
    SubjectPublicKeyInfoRef {
        algorithm: algorithm(),
        subject_public_key: BitStringRef::from_bytes(&point).map_err(unexpected)?,
    }
    .to_der()
    .map_err(unexpected)
}

/// SubjectPublicKeyInfo in PEM.
pub fn public_key_to_pem(key: &VerifyKey) -> Result<String> {
    to_pem(PUBLIC_LABEL, &public_key_to_der(key)?)
}

/// Read an SM2 public key from SubjectPublicKeyInfo in PEM or DER; the point uncompressed.
pub fn read_public_key(data: &[u8]) -> Result<VerifyKey> {
    let wrong = || {
        CryptoError::InvalidKey(
            "public key file: not a SubjectPublicKeyInfo of SM2 (id-ecPublicKey with the curve 1.2.156.10197.1.301)".into(),
        )
    };
    let der = match data.trim_ascii_start().starts_with(PEM_BEGIN) {
        true => match from_pem(data)? {
            (PUBLIC_LABEL, der) => der,
            _ => return Err(malformed(PUBLIC_LABEL)),
        },
        false => Zeroizing::new(data.to_vec()),
    };
    let info = SubjectPublicKeyInfoRef::from_der(&der).map_err(|_| wrong())?;
    if !info
        .algorithm
        .oids()
        .is_ok_and(|oids| oids == (EC_PUBLIC_KEY, Some(SM2_CURVE)))
    {
        return Err(wrong());
    }
    let point = info.subject_public_key.as_bytes().ok_or_else(wrong)?;
    match point.len() {
        65 => VerifyKey::from_bytes(point),
        length => Err(CryptoError::InvalidKey(format!(
            "public key file: a point of 65 bytes expected, got {length}"
        ))),
    }
}

fn algorithm() -> AlgorithmIdentifierRef<'static> {
    AlgorithmIdentifierRef {
        oid: EC_PUBLIC_KEY,
        parameters: Some(AnyRef::from(&SM2_CURVE)),
    }
}

fn malformed(label: &str) -> CryptoError {
    CryptoError::InvalidKey(format!("key file: not a PEM block \"{label}\""))
}

fn from_pem(pem: &[u8]) -> Result<(&str, Zeroizing<Vec<u8>>)> {
    let (label, der) = der::pem::decode_vec(pem).map_err(|_| malformed(PBES2_LABEL))?;
    Ok((label, Zeroizing::new(der)))
}

fn to_pem(label: &'static str, der: &[u8]) -> Result<String> {
    der::pem::encode_string(label, LineEnding::LF, der)
        .map_err(|_| CryptoError::InvalidKey("key cannot be encoded".into()))
}

fn open_sealed(der: &[u8], password: &[u8]) -> Result<LockedKey> {
    decode_key(&pbes2::open(der, password)?).ok_or(CryptoError::DecryptionFailed)
}

/// PrivateKeyInfo (RFC 5958) around ECPrivateKey (RFC 5915), as OpenSSL and GmSSL write them.
fn encode_key(key: &SigningKey) -> Result<Zeroizing<Vec<u8>>> {
    let unexpected = |_| CryptoError::InvalidKey("key cannot be encoded".into());
    let d = key.to_bytes();
    let public = key.public_key().to_bytes();
    let inner = EcPrivateKey {
        private_key: d.as_ref(),
        parameters: None,
        public_key: Some(&public),
    };
    let inner = Zeroizing::new(inner.to_der().map_err(unexpected)?);
    let info = pkcs8::PrivateKeyInfo::new(algorithm(), &inner);
    info.to_der().map(Zeroizing::new).map_err(unexpected)
}

fn decode_key(der: &[u8]) -> Option<LockedKey> {
    let info = pkcs8::PrivateKeyInfo::from_der(der).ok()?;
    if info.algorithm.oids().ok()? != (EC_PUBLIC_KEY, Some(SM2_CURVE)) {
        return None;
    }
    let inner = EcPrivateKey::from_der(info.private_key).ok()?;
    let key = Locked::new(SigningKey::from_bytes(inner.private_key).ok()?);
    match inner.public_key {
        Some(stored) if stored != key.public_key().to_bytes() => None,
        _ => Some(key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_key_comes_back_with_its_password_only() {
        let key = SigningKey::generate().unwrap();
        for suite in [Suite::Sm, Suite::Aes] {
            let pem = to_encrypted_pem(&key, b"correct horse", ITERATIONS_MIN, suite).unwrap();
            let opened = from_encrypted_pem(pem.as_bytes(), b"correct horse").unwrap();
            assert_eq!(opened.to_bytes(), key.to_bytes());
            let refused = from_encrypted_pem(pem.as_bytes(), b"wrong").err();
            assert_eq!(refused, Some(CryptoError::DecryptionFailed));
            let (_, der) = from_pem(pem.as_bytes()).unwrap();
            let opened = read_private_key(&der, Some(b"correct horse")).unwrap();
            assert_eq!(opened.to_bytes(), key.to_bytes());
            assert!(matches!(
                read_private_key(&der, None),
                Err(CryptoError::InvalidKey(_))
            ));
        }
    }

    #[test]
    fn a_plain_key_is_read_in_both_forms_but_not_with_a_password() {
        let key = SigningKey::generate().unwrap();
        let der = to_pkcs8(&key).unwrap();
        let pem = to_pem(PLAIN_LABEL, &der).unwrap();
        for data in [der.as_slice(), pem.as_bytes()] {
            assert_eq!(
                read_private_key(data, None).unwrap().to_bytes(),
                key.to_bytes()
            );
            assert!(matches!(
                read_private_key(data, Some(b"p")),
                Err(CryptoError::InvalidKey(_))
            ));
        }
        assert!(
            read_private_key(&[&der[..], &[0]].concat(), None).is_err(),
            "trailing byte"
        );
    }

    #[test]
    fn a_public_key_is_read_in_both_forms() {
        let key = SigningKey::generate().unwrap();
        let der = public_key_to_der(key.public_key()).unwrap();
        let pem = public_key_to_pem(key.public_key()).unwrap();
        assert_eq!(der.len(), 91);
        for data in [der.as_slice(), pem.as_bytes()] {
            assert_eq!(
                read_public_key(data).unwrap().to_bytes(),
                key.public_key().to_bytes()
            );
        }
        for length in 0..der.len() {
            assert!(read_public_key(&der[..length]).is_err());
        }
        let mut off_the_curve = der.clone();
        off_the_curve[90] ^= 1;
        assert!(matches!(
            read_public_key(&off_the_curve),
            Err(CryptoError::InvalidKey(_))
        ));
    }

    #[test]
    fn too_few_and_too_many_iterations_are_refused() {
        let key = SigningKey::generate().unwrap();
        for iterations in [0, 1, ITERATIONS_MIN - 1, ITERATIONS_MAX + 1] {
            assert!(matches!(
                to_encrypted_pem(&key, b"p", iterations, Suite::Sm),
                Err(CryptoError::InvalidKey(_))
            ));
        }
    }
}

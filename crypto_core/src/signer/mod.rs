//! One interface to a signing key, wherever it lies: in memory, in a PKCS#11 token, in an SDF device (GM/T 0018).
//!
//! Messages are digested here and digests are signed there; what a device gives back is verified before it is believed.

mod device;
mod pkcs11;
#[allow(unsafe_code)] // a device's library is C; see the comments at each call
mod sdf;

pub use device::{TIMEOUT_DEFAULT, TIMEOUT_LONGEST};
pub use pkcs11::TokenKey;

use crate::errors::{CryptoError, DeviceFault, Result};
use crate::general::{self, Sha2};
use crate::keystore;
use crate::sm2;
use device::Worker;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

/// The name of SM2 with SM3; its signatures are raw r‖s, 64 bytes.
pub const SM2_SM3: &str = "sm2-sm3";
/// Most items of one call: a device works through them one by one.
pub const BATCH_LONGEST: usize = 100_000;

/// The key that checks what a signer signs.
pub enum PublicKey {
    /// SM2 with SM3.
    Sm2(sm2::VerifyKey),
    /// One of the schemes of [`general::Algorithm`].
    General(general::VerifyKey),
}

enum Place {
    Sm2(Arc<keystore::LockedKey>),
    General(general::SigningKey),
    Device(Worker),
}

/// A signing key by its interface. Neither printable nor clonable.
pub struct Signer {
    key_id: String,
    public: PublicKey,
    place: Place,
    backend: &'static str,
}

impl Signer {
    /// An SM2 key in memory.
    pub fn from_sm2(key: Arc<keystore::LockedKey>, key_id: Option<String>) -> Result<Self> {
        let public = PublicKey::Sm2(key.public_key().clone());
        Self::software(Place::Sm2(key), public, key_id)
    }

    /// A key in memory, from PKCS#8 in PEM or DER, plain (`password` is `None`) or encrypted.
    pub fn from_pkcs8(
        algorithm: &str,
        data: &[u8],
        password: Option<&[u8]>,
        key_id: Option<String>,
    ) -> Result<Self> {
        if algorithm == SM2_SM3 {
            let key = keystore::read_private_key(data, password)?;
            return Self::from_sm2(Arc::new(key), key_id);
        }
        let algorithm = general_algorithm(algorithm)?;
        let der = keystore::open_pkcs8(data, password)?;
        let key = general::SigningKey::from_pkcs8(algorithm, &der)?;
        let public = PublicKey::General(key.public_key()?);
        Self::software(Place::General(key), public, key_id)
    }

    fn software(place: Place, public: PublicKey, key_id: Option<String>) -> Result<Self> {
        let key_id = match key_id {
            Some(key_id) => key_id,
            None => fingerprint(&public.to_der()?),
        };
        Ok(Self {
            key_id,
            public,
            place,
            backend: "software",
        })
    }

    /// A key in a token that is reached through a PKCS#11 module. `algorithm` is any of [`general::Algorithm`] but Ed25519.
    pub fn open_pkcs11(key: TokenKey, algorithm: &str, timeout: Duration) -> Result<Self> {
        let algorithm = general_algorithm(algorithm)?;
        algorithm.digest_length()?;
        let key_id = key.uri();
        let worker = Worker::start(timeout, move || pkcs11::open(&key, algorithm))?;
        let public = PublicKey::General(general::VerifyKey::from_bytes(algorithm, &worker.public)?);
        Ok(Self {
            key_id,
            public,
            place: Place::Device(worker),
            backend: "pkcs11",
        })
    }

    /// The SM2 signing key number `index` of an SDF device whose library is at `library`.
    pub fn open_sdf(
        library: PathBuf,
        index: u32,
        pin: Zeroizing<Vec<u8>>,
        timeout: Duration,
    ) -> Result<Self> {
        let worker = Worker::start(timeout, move || sdf::open(&library, index, &pin))?;
        let public = PublicKey::Sm2(sm2::VerifyKey::from_bytes(&worker.public)?);
        let key_id = format!("sdf:index={index}");
        Ok(Self {
            key_id,
            public,
            place: Place::Device(worker),
            backend: "sdf",
        })
    }

    /// `sm2-sm3`, or a name of [`general::Algorithm::NAMES`].
    pub fn algorithm(&self) -> &'static str {
        match &self.public {
            PublicKey::Sm2(_) => SM2_SM3,
            PublicKey::General(key) => key.algorithm().name(),
        }
    }

    /// What to call this key in logs and key lists; no secret.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// `software`, `pkcs11` or `sdf`.
    pub fn backend(&self) -> &'static str {
        self.backend
    }

    /// The key that checks what this one signs.
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// Sign each message, in order. `identity` is SM2's alone; `None` there means [`sm2::DEFAULT_IDENTITY`].
    ///
    /// All or nothing: the first failure is the answer of the call.
    pub fn sign_many<M: AsRef<[u8]> + Sync>(
        &self,
        messages: &[M],
        identity: Option<&[u8]>,
    ) -> Result<Vec<Vec<u8>>> {
        check_batch(messages.len())?;
        match (&self.public, &self.place) {
            (PublicKey::Sm2(public), _) => {
                let identity = identity.unwrap_or(sm2::DEFAULT_IDENTITY);
                self.sign_sm2(&public.digests(messages, identity)?)
            }
            (PublicKey::General(key), _) if identity.is_some() => {
                Err(CryptoError::InvalidLength(format!(
                    "identity: {} has none; leave it out",
                    key.algorithm().name()
                )))
            }
            (_, Place::General(key)) => key.sign_many(messages),
            (PublicKey::General(key), _) => {
                let digests = digests_of(key.algorithm(), messages)?;
                self.sign_digests(&digests)
            }
        }
    }

    /// Sign each digest of the scheme, taken by the caller: e = SM3(Z_A ‖ message) for SM2. Ed25519 has none.
    pub fn sign_digests<D: AsRef<[u8]>>(&self, digests: &[D]) -> Result<Vec<Vec<u8>>> {
        check_batch(digests.len())?;
        let digests: Vec<Vec<u8>> = digests
            .iter()
            .map(|digest| digest.as_ref().to_vec())
            .collect();
        for (index, digest) in digests.iter().enumerate() {
            self.check_digest(index, digest)?;
        }
        match &self.place {
            Place::Sm2(_) => self.sign_sm2(&fixed(&digests)),
            Place::General(key) => digests
                .iter()
                .map(|digest| key.sign_digest(digest))
                .collect(),
            Place::Device(worker) => self.believed(&digests, worker.sign(digests.clone())?),
        }
    }

    fn sign_sm2(&self, digests: &[[u8; 32]]) -> Result<Vec<Vec<u8>>> {
        match &self.place {
            Place::Sm2(key) => {
                let signatures = key.sign_digests(digests)?;
                Ok(signatures
                    .iter()
                    .map(|signature| signature.to_vec())
                    .collect())
            }
            _ => self.sign_digests(digests),
        }
    }

    fn check_digest(&self, index: usize, digest: &[u8]) -> Result<()> {
        let expected = match &self.public {
            PublicKey::Sm2(_) => 32,
            PublicKey::General(key) => key.algorithm().digest_length()?,
        };
        if digest.len() == expected {
            return Ok(());
        }
        let name = format!("digests[{index}]");
        Err(CryptoError::length(
            &name,
            &format!("{expected} bytes"),
            digest.len(),
        ))
    }

    /// A device's signatures, once each has been verified: a fault or another key must not reach a bank.
    fn believed(&self, digests: &[Vec<u8>], signatures: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>> {
        let verdicts = match &self.public {
            PublicKey::Sm2(key) => key.verify_digests(&fixed(digests), &signatures)?,
            PublicKey::General(key) => {
                let pairs = digests.iter().zip(&signatures);
                pairs
                    .map(|(digest, signature)| key.verify_digest(digest, signature).is_ok())
                    .collect()
            }
        };
        match verdicts.iter().position(|fits| !fits) {
            None => Ok(signatures),
            Some(index) => Err(CryptoError::Device(
                DeviceFault::Failed,
                format!(
                    "{}: the signature of item {index} does not verify with the device's own public key; nothing was \
                     given out. Have the device checked",
                    self.key_id
                ),
            )),
        }
    }
}

impl PublicKey {
    /// SubjectPublicKeyInfo in DER.
    pub fn to_der(&self) -> Result<Vec<u8>> {
        match self {
            Self::Sm2(key) => keystore::public_key_to_der(key),
            Self::General(key) => key.to_der(),
        }
    }
}

fn general_algorithm(name: &str) -> Result<general::Algorithm> {
    general::Algorithm::from_name(name).map_err(|error| match error {
        CryptoError::UnknownAlgorithm(text) => {
            CryptoError::UnknownAlgorithm(format!("{text}, or {SM2_SM3}"))
        }
        other => other,
    })
}

fn check_batch(items: usize) -> Result<()> {
    if items <= BATCH_LONGEST {
        return Ok(());
    }
    Err(CryptoError::length("batch", "at most 100,000 items", items))
}

fn digests_of<M: AsRef<[u8]>>(
    algorithm: general::Algorithm,
    messages: &[M],
) -> Result<Vec<Vec<u8>>> {
    let digest = match algorithm.digest_length()? {
        48 => Sha2::Sha384,
        64 => Sha2::Sha512,
        _ => Sha2::Sha256,
    };
    Ok(messages
        .iter()
        .map(|message| digest.digest(message.as_ref()))
        .collect())
}

/// Digests whose length was checked.
fn fixed(digests: &[Vec<u8>]) -> Vec<[u8; 32]> {
    digests
        .iter()
        .filter_map(|digest| digest.as_slice().try_into().ok())
        .collect()
}

/// The first 8 bytes of SHA-256 over the SubjectPublicKeyInfo, in hexadecimal.
fn fingerprint(der: &[u8]) -> String {
    let digest = Sha2::Sha256.digest(der);
    digest
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_algorithm_signs_messages_and_digests_alike() {
        for name in [
            "ecdsa-p256-sha256",
            "ecdsa-p256-sha256-raw",
            "rsa-pss-sha256",
            "rsa-pkcs1-sha512",
        ] {
            let algorithm = general_algorithm(name).unwrap();
            let der = general::SigningKey::generate(algorithm)
                .unwrap()
                .to_pkcs8()
                .unwrap();
            let signer = Signer::from_pkcs8(name, &der, None, None).unwrap();
            let PublicKey::General(public) = signer.public_key() else {
                panic!("not general")
            };
            let messages = [b"one".as_slice(), b"two"];
            let of_messages = signer.sign_many(&messages, None).unwrap();
            let digests = digests_of(algorithm, &messages).unwrap();
            let of_digests = signer.sign_digests(&digests).unwrap();
            for signatures in [&of_messages, &of_digests] {
                assert_eq!(
                    public.verify_many(&messages, signatures),
                    Ok(vec![true, true])
                );
            }
            assert!(signer.sign_many(&messages, Some(b"identity")).is_err());
            assert!(matches!(
                signer.sign_digests(&[b"short"]),
                Err(CryptoError::InvalidLength(_))
            ));
        }
    }

    #[test]
    fn ed25519_signs_messages_only() {
        let der = general::SigningKey::generate(general::Algorithm::Ed25519)
            .unwrap()
            .to_pkcs8()
            .unwrap();
        let signer = Signer::from_pkcs8("ed25519", &der, None, Some("mine".into())).unwrap();
        assert_eq!(
            (signer.algorithm(), signer.key_id(), signer.backend()),
            ("ed25519", "mine", "software")
        );
        assert_eq!(signer.sign_many(&[b"m"], None).unwrap()[0].len(), 64);
        assert!(matches!(
            signer.sign_digests(&[[0; 32]]),
            Err(CryptoError::UnknownAlgorithm(_))
        ));
    }

    #[test]
    fn an_unknown_name_is_told_all_known_ones() {
        let Err(CryptoError::UnknownAlgorithm(text)) = Signer::from_pkcs8("sm9", b"", None, None)
        else {
            panic!("accepted");
        };
        assert!(text.contains("sm2-sm3") && text.contains("rsa-pss-sha256"));
    }
}

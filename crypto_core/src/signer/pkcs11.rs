//! Keys in PKCS#11 tokens (OASIS PKCS#11 2.40 and later), through the crate `cryptoki`.
//!
//! Digests are taken here and the token signs them (CKM_ECDSA, CKM_RSA_PKCS, CKM_RSA_PKCS_PSS): those three every token has.
//! SM2 is not among the standard's mechanisms up to 3.1; its numbers are each vendor's own. SM2 devices speak SDF.

use super::device::{Device, Trouble, fault};
use crate::errors::{CryptoError, DeviceFault, Result};
use crate::general::Algorithm;
use crate::sm2;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsPssParams};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::RawAuthPin;
use der::asn1::{OctetStringRef, UintRef};
use der::{Decode, Encode, Sequence};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use zeroize::Zeroizing;

/// Object identifier of the curve P-256 in DER.
const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

/// Which key of which token, and the PIN that opens it.
pub struct TokenKey {
    /// The vendor's library.
    pub module: PathBuf,
    /// Label of the token.
    pub token: String,
    /// CKA_LABEL of the key; at least one of `label` and `id`.
    pub label: Option<String>,
    /// CKA_ID of the key.
    pub id: Option<Vec<u8>>,
    /// The user's PIN.
    pub pin: Zeroizing<Vec<u8>>,
}

impl TokenKey {
    /// The key by name (RFC 7512), without the PIN.
    pub fn uri(&self) -> String {
        let mut uri = format!("pkcs11:token={}", escaped(self.token.as_bytes()));
        if let Some(label) = &self.label {
            uri += &format!(";object={}", escaped(label.as_bytes()));
        }
        if let Some(id) = &self.id {
            uri += ";id=";
            id.iter().for_each(|byte| uri += &format!("%{byte:02x}"));
        }
        uri
    }

    fn template(&self, class: ObjectClass) -> Vec<Attribute> {
        let mut template = vec![Attribute::Class(class)];
        template.extend(
            self.label
                .iter()
                .map(|label| Attribute::Label(label.clone().into_bytes())),
        );
        template.extend(self.id.iter().map(|id| Attribute::Id(id.clone())));
        template
    }
}

fn escaped(bytes: &[u8]) -> String {
    let escape = |byte: &u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
            char::from(*byte).to_string()
        }
        _ => format!("%{byte:02x}"),
    };
    bytes.iter().map(escape).collect()
}

#[derive(Sequence)]
struct RsaPublicKey<'a> {
    modulus: UintRef<'a>,
    exponent: UintRef<'a>,
}

/// An open session with the key found in it.
pub struct Token {
    session: Session,
    key: ObjectHandle,
    algorithm: Algorithm,
    public: Vec<u8>,
    name: String,
}

/// Load the module, find token and key, log in.
pub fn open(wanted: &TokenKey, algorithm: Algorithm) -> Result<Token> {
    let name = wanted.uri();
    if wanted.label.is_none() && wanted.id.is_none() {
        return Err(fault(
            DeviceFault::KeyNotFound,
            format!("{name}: say which key, by its label, its id, or both"),
        ));
    }
    let said = |error| explain(&name, &error);
    let context = context(&wanted.module, &name)?;
    let slot = slot_of(&context, wanted, &name)?;
    let session = context.open_ro_session(slot).map_err(said)?;
    log_in(&session, &wanted.pin, &name)?;
    let key = only(&session, wanted, ObjectClass::PRIVATE_KEY, &name)?;
    check_kind(&session, key, algorithm, &name)?;
    let public = public_key(&session, wanted, key, algorithm, &name)?;
    Ok(Token {
        session,
        key,
        algorithm,
        public,
        name,
    })
}

/// A module is loaded and initialised once per process and never finalised: others may use it too.
fn context(module: &Path, name: &str) -> Result<Pkcs11> {
    static LOADED: Mutex<Option<HashMap<(u32, PathBuf), Pkcs11>>> = Mutex::new(None);
    let mut loaded = LOADED.lock().map_err(|_| {
        fault(
            DeviceFault::Away,
            format!("{name}: loading a module failed before"),
        )
    })?;
    let loaded = loaded.get_or_insert_default();
    let key = (std::process::id(), module.to_path_buf());
    if let Some(context) = loaded.get(&key) {
        return Ok(context.clone());
    }
    let context = Pkcs11::new(module).map_err(|error| {
        let path = module.display();
        fault(
            DeviceFault::Away,
            format!("{name}: the module {path} cannot be loaded: {error}"),
        )
    })?;
    match context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
        Err(error) => return Err(explain(name, &error)),
    }
    loaded.insert(key, context.clone());
    Ok(context)
}

fn slot_of(context: &Pkcs11, wanted: &TokenKey, name: &str) -> Result<Slot> {
    let slots = context
        .get_slots_with_token()
        .map_err(|error| explain(name, &error))?;
    let mut labels = Vec::new();
    for slot in slots {
        let Ok(token) = context.get_token_info(slot) else {
            continue;
        };
        if token.label().trim_end() == wanted.token {
            return Ok(slot);
        }
        labels.push(token.label().trim_end().to_string());
    }
    let present = if labels.is_empty() {
        "none".to_string()
    } else {
        labels.join(", ")
    };
    Err(fault(
        DeviceFault::Away,
        format!("{name}: no token of this label is there; present: {present}"),
    ))
}

fn log_in(session: &Session, pin: &[u8], name: &str) -> Result<()> {
    let pin = RawAuthPin::new(Box::new(pin.to_vec()));
    match session.login_with_raw(UserType::User, &pin) {
        // The login is the process's, not the session's: another signer of this token has it already.
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
        Err(error) => Err(explain(name, &error)),
    }
}

fn only(
    session: &Session,
    wanted: &TokenKey,
    class: ObjectClass,
    name: &str,
) -> Result<ObjectHandle> {
    let found = session
        .find_objects(&wanted.template(class))
        .map_err(|error| explain(name, &error))?;
    match found[..] {
        [key] => Ok(key),
        [] => Err(fault(
            DeviceFault::KeyNotFound,
            format!("{name}: the token has no such {class}"),
        )),
        _ => Err(fault(
            DeviceFault::KeyNotFound,
            format!(
                "{name}: {} keys fit; give label and id together",
                found.len()
            ),
        )),
    }
}

fn check_kind(
    session: &Session,
    key: ObjectHandle,
    algorithm: Algorithm,
    name: &str,
) -> Result<()> {
    let expected = if is_ecdsa(algorithm) {
        KeyType::EC
    } else {
        KeyType::RSA
    };
    let found = session
        .get_attributes(key, &[AttributeType::KeyType])
        .map_err(|error| explain(name, &error))?;
    if found.contains(&Attribute::KeyType(expected)) {
        return Ok(());
    }
    Err(fault(
        DeviceFault::KeyNotFound,
        format!(
            "{name}: the key is not of the kind that {} needs",
            algorithm.name()
        ),
    ))
}

fn is_ecdsa(algorithm: Algorithm) -> bool {
    matches!(algorithm, Algorithm::EcdsaP256 | Algorithm::EcdsaP256Raw)
}

/// The point of the public object, or the modulus and exponent that an RSA private key carries itself.
fn public_key(
    session: &Session,
    wanted: &TokenKey,
    private: ObjectHandle,
    algorithm: Algorithm,
    name: &str,
) -> Result<Vec<u8>> {
    let read = |object, types: &[AttributeType]| {
        session
            .get_attributes(object, types)
            .map_err(|error| explain(name, &error))
    };
    let unreadable = || {
        fault(
            DeviceFault::KeyNotFound,
            format!("{name}: the public key cannot be read"),
        )
    };
    if is_ecdsa(algorithm) {
        let object = only(session, wanted, ObjectClass::PUBLIC_KEY, name)?;
        let attributes = read(object, &[AttributeType::EcParams, AttributeType::EcPoint])?;
        if !attributes.contains(&Attribute::EcParams(P256.to_vec())) {
            return Err(fault(
                DeviceFault::KeyNotFound,
                format!("{name}: the key is not on P-256"),
            ));
        }
        let point = attributes.iter().find_map(|attribute| match attribute {
            Attribute::EcPoint(point) => Some(point),
            _ => None,
        });
        let point = point.ok_or_else(unreadable)?;
        // The standard wraps the point in an OCTET STRING; some tokens do not.
        let wrapped = OctetStringRef::from_der(point);
        return Ok(wrapped.map_or(point.clone(), |point| point.as_bytes().to_vec()));
    }
    let attributes = read(
        private,
        &[AttributeType::Modulus, AttributeType::PublicExponent],
    )?;
    let (mut modulus, mut exponent) = (None, None);
    for attribute in &attributes {
        match attribute {
            Attribute::Modulus(bytes) => modulus = UintRef::new(bytes).ok(),
            Attribute::PublicExponent(bytes) => exponent = UintRef::new(bytes).ok(),
            _ => {}
        }
    }
    let (Some(modulus), Some(exponent)) = (modulus, exponent) else {
        return Err(unreadable());
    };
    RsaPublicKey { modulus, exponent }
        .to_der()
        .map_err(|_| unreadable())
}

impl Device for Token {
    fn public(&self) -> &[u8] {
        &self.public
    }

    fn sign(&mut self, digest: &[u8]) -> std::result::Result<Vec<u8>, Trouble> {
        let (mechanism, input) = mechanism(self.algorithm, digest);
        let signed = self.session.sign(&mechanism, self.key, &input);
        let signature = signed.map_err(|error| match is_lost(&error) {
            true => Trouble::Lost(explain(&self.name, &error)),
            false => Trouble::Final(explain(&self.name, &error)),
        })?;
        match self.algorithm {
            Algorithm::EcdsaP256 => sm2::to_der(&signature).map_err(Trouble::Final),
            _ => Ok(signature),
        }
    }
}

/// What the token is asked to do, and with which bytes.
fn mechanism(algorithm: Algorithm, digest: &[u8]) -> (Mechanism<'static>, Vec<u8>) {
    use Algorithm::*;
    let (hash_alg, mgf) = match digest.len() {
        48 => (MechanismType::SHA384, PkcsMgfType::MGF1_SHA384),
        64 => (MechanismType::SHA512, PkcsMgfType::MGF1_SHA512),
        _ => (MechanismType::SHA256, PkcsMgfType::MGF1_SHA256),
    };
    match algorithm {
        RsaPssSha256 | RsaPssSha384 | RsaPssSha512 => {
            let s_len = (digest.len() as u64).into();
            (
                Mechanism::RsaPkcsPss(PkcsPssParams {
                    hash_alg,
                    mgf,
                    s_len,
                }),
                digest.to_vec(),
            )
        }
        RsaPkcs1Sha256 | RsaPkcs1Sha384 | RsaPkcs1Sha512 => {
            (Mechanism::RsaPkcs, digest_info(digest))
        }
        Ed25519 | EcdsaP256 | EcdsaP256Raw => (Mechanism::Ecdsa, digest.to_vec()),
    }
}

/// DigestInfo of RFC 8017, 9.2: the algorithm's name before the digest.
fn digest_info(digest: &[u8]) -> Vec<u8> {
    let arc = match digest.len() {
        48 => 2,
        64 => 3,
        _ => 1,
    };
    let length = digest.len() as u8;
    let mut info = vec![0x30, 17 + length, 0x30, 0x0d, 0x06, 0x09];
    info.extend([
        0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, arc, 0x05, 0x00, 0x04, length,
    ]);
    info.extend(digest);
    info
}

fn is_lost(error: &Error) -> bool {
    use RvError::*;
    let Error::Pkcs11(code, _) = error else {
        return false;
    };
    matches!(
        code,
        SessionHandleInvalid
            | SessionClosed
            | UserNotLoggedIn
            | DeviceRemoved
            | TokenNotPresent
            | DeviceError
            | ObjectHandleInvalid
            | KeyHandleInvalid
            | CryptokiNotInitialized
    )
}

/// The vendor's code in words, with what to do.
fn explain(name: &str, error: &Error) -> CryptoError {
    use RvError::*;
    let Error::Pkcs11(code, function) = error else {
        return fault(DeviceFault::Failed, format!("{name}: {error}"));
    };
    let (kind, words) = match code {
        PinIncorrect | PinInvalid | PinLenRange => (
            DeviceFault::WrongPin,
            "the PIN is wrong; it is not tried again, because a token locks after a few",
        ),
        PinLocked => (
            DeviceFault::WrongPin,
            "the PIN is locked; the security officer must set a new one",
        ),
        PinExpired | UserPinNotInitialized => (
            DeviceFault::WrongPin,
            "the token has no valid user PIN; set one",
        ),
        _ if is_lost(error) => (
            DeviceFault::Away,
            "the token or the session is gone; put the token back",
        ),
        MechanismInvalid | MechanismParamInvalid => {
            (DeviceFault::Failed, "the token does not have this scheme")
        }
        KeyFunctionNotPermitted => (
            DeviceFault::Failed,
            "the key is not allowed to sign (CKA_SIGN)",
        ),
        _ => (DeviceFault::Failed, "the token refused"),
    };
    fault(kind, format!("{name}: {words} ({function}: {code:?})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_key_escapes_and_never_holds_the_pin() {
        let key = TokenKey {
            module: "/nowhere".into(),
            token: "bank 1".into(),
            label: Some("付款".into()),
            id: Some(vec![1, 0xab]),
            pin: Zeroizing::new(b"654321".to_vec()),
        };
        assert_eq!(
            key.uri(),
            "pkcs11:token=bank%201;object=%e4%bb%98%e6%ac%be;id=%01%ab"
        );
        let Err(CryptoError::Device(DeviceFault::Away, text)) = open(&key, Algorithm::EcdsaP256)
        else {
            panic!("opened");
        };
        assert!(text.contains("/nowhere") && !text.contains("654321"));
    }

    #[test]
    fn digest_info_is_what_rfc_8017_prints() {
        let prefix = digest_info(&[0; 32]);
        let printed = hex_literal::hex!("3031300d060960864801650304020105000420");
        assert_eq!(prefix[..19], printed);
        assert_eq!(
            digest_info(&[0; 64])[..19],
            hex_literal::hex!("3051300d060960864801650304020305000440")
        );
    }
}

//! Keys in devices of GM/T 0018-2012 (SDF), whose library is loaded when it is named: no vendor's header or binary is here.
//!
//! A signature is SDF_InternalSign_ECC over e, after SDF_GetPrivateKeyAccessRight with the key's PIN. Numbers lie right-aligned in
//! fields of 64 bytes (ECCref_MAX_LEN). `Assumed:` the common error codes of annex A; a vendor's own codes are shown as numbers.

use super::device::{Device, Trouble, fault};
use crate::errors::{CryptoError, DeviceFault, Result};
use libloading::Library;
use std::collections::HashMap;
use std::ffi::{c_int, c_uchar, c_uint, c_void};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

const FIELD_LENGTH: usize = 64;
const NUMBER_LENGTH: usize = 32;
const BITS: c_uint = 256;

/// ECCrefPublicKey (GM/T 0018-2012, 5.4).
#[repr(C)]
struct EccPublicKey {
    bits: c_uint,
    x: [c_uchar; FIELD_LENGTH],
    y: [c_uchar; FIELD_LENGTH],
}

/// ECCSignature (GM/T 0018-2012, 5.6).
#[repr(C)]
struct EccSignature {
    r: [c_uchar; FIELD_LENGTH],
    s: [c_uchar; FIELD_LENGTH],
}

type Handle = *mut c_void;
type OpenDevice = unsafe extern "C" fn(*mut Handle) -> c_int;
type OpenSession = unsafe extern "C" fn(Handle, *mut Handle) -> c_int;
type Close = unsafe extern "C" fn(Handle) -> c_int;
type GetAccessRight = unsafe extern "C" fn(Handle, c_uint, *const c_uchar, c_uint) -> c_int;
type ReleaseAccessRight = unsafe extern "C" fn(Handle, c_uint) -> c_int;
type ExportPublicKey = unsafe extern "C" fn(Handle, c_uint, *mut EccPublicKey) -> c_int;
type InternalSign =
    unsafe extern "C" fn(Handle, c_uint, *const c_uchar, c_uint, *mut EccSignature) -> c_int;

/// The functions used, looked up once.
#[derive(Clone, Copy)]
struct Functions {
    open_device: OpenDevice,
    close_device: Close,
    open_session: OpenSession,
    close_session: Close,
    get_access_right: GetAccessRight,
    release_access_right: ReleaseAccessRight,
    export_public_key: ExportPublicKey,
    internal_sign: InternalSign,
}

impl Functions {
    /// A library stays loaded: vendors' libraries keep threads of their own, which unloading would pull the code from.
    fn load(path: &Path) -> Result<Self> {
        static LOADED: Mutex<Option<HashMap<PathBuf, Functions>>> = Mutex::new(None);
        let mut loaded = LOADED
            .lock()
            .map_err(|_| fault(DeviceFault::Away, "loading an SDF library failed before"))?;
        let loaded = loaded.get_or_insert_default();
        if let Some(functions) = loaded.get(path) {
            return Ok(*functions);
        }
        let failed = |error: libloading::Error| {
            fault(
                DeviceFault::Away,
                format!(
                    "the SDF library {} cannot be loaded: {error}",
                    path.display()
                ),
            )
        };
        // SAFETY: loading runs the library's constructors. The operator names the library; it is trusted as the device is.
        let library = unsafe { Library::new(path) }.map_err(failed)?;
        // SAFETY: names and types are those of GM/T 0018-2012, clause 6.
        let functions = unsafe {
            Self {
                open_device: *library.get(b"SDF_OpenDevice\0").map_err(failed)?,
                close_device: *library.get(b"SDF_CloseDevice\0").map_err(failed)?,
                open_session: *library.get(b"SDF_OpenSession\0").map_err(failed)?,
                close_session: *library.get(b"SDF_CloseSession\0").map_err(failed)?,
                get_access_right: *library
                    .get(b"SDF_GetPrivateKeyAccessRight\0")
                    .map_err(failed)?,
                release_access_right: *library
                    .get(b"SDF_ReleasePrivateKeyAccessRight\0")
                    .map_err(failed)?,
                export_public_key: *library
                    .get(b"SDF_ExportSignPublicKey_ECC\0")
                    .map_err(failed)?,
                internal_sign: *library.get(b"SDF_InternalSign_ECC\0").map_err(failed)?,
            }
        };
        std::mem::forget(library);
        loaded.insert(path.to_path_buf(), functions);
        Ok(functions)
    }
}

/// An open device with a session that may use the key. Used and dropped on the one thread that opened it.
pub struct SdfKey {
    functions: Functions,
    device: Handle,
    session: Handle,
    index: u32,
    has_right: bool,
    public: Vec<u8>,
}

/// Load the library, open device and session, ask for the right to use key `index`, read its public half.
pub fn open(library: &Path, index: u32, pin: &[u8]) -> Result<SdfKey> {
    let functions = Functions::load(library)?;
    let mut key = SdfKey {
        functions,
        device: std::ptr::null_mut(),
        session: std::ptr::null_mut(),
        index,
        has_right: false,
        public: Vec::new(),
    };
    // SAFETY: each pointer is to a variable that outlives the call; handles come from the library itself.
    unsafe {
        check(
            index,
            "SDF_OpenDevice",
            (functions.open_device)(&raw mut key.device),
        )?;
        check(
            index,
            "SDF_OpenSession",
            (functions.open_session)(key.device, &raw mut key.session),
        )?;
        // The public key is anybody's; asking for it first tells a missing key from a wrong PIN.
        let mut public = EccPublicKey {
            bits: 0,
            x: [0; FIELD_LENGTH],
            y: [0; FIELD_LENGTH],
        };
        let code = (functions.export_public_key)(key.session, index, &raw mut public);
        check(index, "SDF_ExportSignPublicKey_ECC", code)?;
        key.public = key.point(&public)?;
        let length = c_uint::try_from(pin.len())
            .map_err(|_| CryptoError::length("pin", "fewer bytes", pin.len()))?;
        let code = (functions.get_access_right)(key.session, index, pin.as_ptr(), length);
        check(index, "SDF_GetPrivateKeyAccessRight", code)?;
    }
    key.has_right = true;
    Ok(key)
}

fn check(index: u32, function: &str, code: c_int) -> Result<()> {
    match code {
        0 => Ok(()),
        _ => Err(explain(index, function, code as u32)),
    }
}

impl SdfKey {
    fn point(&self, public: &EccPublicKey) -> Result<Vec<u8>> {
        let numbers = (number(&public.x), number(&public.y));
        match (public.bits, numbers) {
            (BITS, (Some(x), Some(y))) => Ok([&[4], x, y].concat()),
            (bits, _) => Err(fault(
                DeviceFault::KeyNotFound,
                format!(
                    "sdf:index={}: the key is not of SM2 ({bits} bits, 256 expected)",
                    self.index
                ),
            )),
        }
    }
}

/// The 32 bytes at the right of a field; `None` when the field holds more.
fn number(field: &[u8; FIELD_LENGTH]) -> Option<&[u8]> {
    let (zeros, number) = field.split_at(FIELD_LENGTH - NUMBER_LENGTH);
    zeros.iter().all(|byte| *byte == 0).then_some(number)
}

impl Device for SdfKey {
    fn public(&self) -> &[u8] {
        &self.public
    }

    fn sign(&mut self, digest: &[u8]) -> std::result::Result<Vec<u8>, Trouble> {
        let mut signature = EccSignature {
            r: [0; FIELD_LENGTH],
            s: [0; FIELD_LENGTH],
        };
        let length = digest.len() as c_uint;
        // SAFETY: the digest and the signature outlive the call; the library writes one ECCSignature.
        let code = unsafe {
            (self.functions.internal_sign)(
                self.session,
                self.index,
                digest.as_ptr(),
                length,
                &raw mut signature,
            )
        };
        if code != 0 {
            let error = explain(self.index, "SDF_InternalSign_ECC", code as u32);
            return Err(match code as u32 {
                COMMUNICATION | HARDWARE | OPEN_DEVICE | OPEN_SESSION | DENIED | ACCESS_RIGHT => {
                    Trouble::Lost(error)
                }
                _ => Trouble::Final(error),
            });
        }
        match (number(&signature.r), number(&signature.s)) {
            (Some(r), Some(s)) => Ok([r, s].concat()),
            _ => Err(Trouble::Final(fault(
                DeviceFault::Failed,
                format!(
                    "sdf:index={}: the signature's numbers have more than 256 bits",
                    self.index
                ),
            ))),
        }
    }
}

impl Drop for SdfKey {
    fn drop(&mut self) {
        // SAFETY: a handle is null until the library gave it, and is closed once. Nothing can be done about a failure.
        unsafe {
            if self.has_right {
                (self.functions.release_access_right)(self.session, self.index);
            }
            if !self.session.is_null() {
                (self.functions.close_session)(self.session);
            }
            if !self.device.is_null() {
                (self.functions.close_device)(self.device);
            }
        }
    }
}

// Error codes of GM/T 0018-2012, annex A.
const COMMUNICATION: u32 = 0x0100_0003;
const HARDWARE: u32 = 0x0100_0004;
const OPEN_DEVICE: u32 = 0x0100_0005;
const OPEN_SESSION: u32 = 0x0100_0006;
const DENIED: u32 = 0x0100_0007;
const KEY_NOT_EXIST: u32 = 0x0100_0008;
const ALGORITHM: u32 = 0x0100_0009;
const ACCESS_RIGHT: u32 = 0x0100_0018;

fn explain(index: u32, function: &str, code: u32) -> CryptoError {
    let (kind, words) = match code {
        COMMUNICATION | OPEN_DEVICE => (
            DeviceFault::Away,
            "the device cannot be reached; check it and the line to it",
        ),
        HARDWARE => (DeviceFault::Away, "the device reports a hardware fault"),
        OPEN_SESSION => (
            DeviceFault::Away,
            "the device gives no session; it may have too many",
        ),
        DENIED | ACCESS_RIGHT => (
            DeviceFault::WrongPin,
            "the PIN is wrong, or the key may not be used; it is not tried again",
        ),
        KEY_NOT_EXIST => (
            DeviceFault::KeyNotFound,
            "the device has no signing key of this number",
        ),
        ALGORITHM => (
            DeviceFault::KeyNotFound,
            "the device cannot sign with this key",
        ),
        _ => (DeviceFault::Failed, "the device refused"),
    };
    fault(
        kind,
        format!("sdf:index={index}: {words} ({function}: 0x{code:08x})"),
    )
}

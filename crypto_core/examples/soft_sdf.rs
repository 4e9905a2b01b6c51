//! A software device with the interface of GM/T 0018-2012, for tests of the SDF loader. Never for production.
//!
//! The folder named by SOFT_SDF_DIR is the device: `<index>.key` holds d in hexadecimal, `pin` the PIN of all keys. Files put there
//! make it fail: `away` (it cannot be reached), `reboot` (every session is lost, once), `slow` (a signature takes a minute),
//! `broken` (signatures are wrong). `opened` and `pins` count openings and PINs tried, one byte each.

#![allow(unsafe_code, missing_docs, clippy::not_unsafe_ptr_arg_deref)] // a C interface, documented in GM/T 0018

use crypto_core::sm2::SigningKey;
use std::ffi::{c_int, c_uchar, c_uint, c_void};
use std::fs;
use std::io::Write;
use std::path::PathBuf;

const OK: c_int = 0;
const COMMUNICATION: c_int = 0x0100_0003;
const HARDWARE: c_int = 0x0100_0004;
const KEY_NOT_EXIST: c_int = 0x0100_0008;
const WRONG_ARGUMENT: c_int = 0x0100_001d;
const ACCESS_RIGHT: c_int = 0x0100_0018;

const FIELD: usize = 64;

#[repr(C)]
pub struct EccPublicKey {
    bits: c_uint,
    x: [c_uchar; FIELD],
    y: [c_uchar; FIELD],
}

#[repr(C)]
pub struct EccSignature {
    r: [c_uchar; FIELD],
    s: [c_uchar; FIELD],
}

/// A session remembers the keys it may use.
struct Session {
    rights: Vec<c_uint>,
    lost: bool,
}

fn file(name: &str) -> PathBuf {
    PathBuf::from(std::env::var_os("SOFT_SDF_DIR").unwrap_or_default()).join(name)
}

fn count(name: &str) {
    let opened = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(file(name));
    let _ = opened.and_then(|mut opened| opened.write_all(b"."));
}

fn key(index: c_uint) -> Option<SigningKey> {
    let hex = fs::read_to_string(file(&format!("{index}.key"))).ok()?;
    let bytes: Vec<u8> = (0..64)
        .step_by(2)
        .map(|i| u8::from_str_radix(hex.get(i..i + 2)?, 16).ok())
        .collect::<Option<_>>()?;
    SigningKey::from_bytes(&bytes).ok()
}

fn right_aligned(number: &[u8]) -> [c_uchar; FIELD] {
    let mut field = [0; FIELD];
    field[FIELD - number.len()..].copy_from_slice(number);
    field
}

#[unsafe(no_mangle)]
pub extern "C" fn SDF_OpenDevice(device: *mut *mut c_void) -> c_int {
    if file("away").exists() {
        return COMMUNICATION;
    }
    count("opened");
    // SAFETY: the caller gives room for one handle.
    unsafe { *device = Box::into_raw(Box::new(0u8)).cast() };
    OK
}

#[unsafe(no_mangle)]
pub extern "C" fn SDF_CloseDevice(device: *mut c_void) -> c_int {
    // SAFETY: the handle is of SDF_OpenDevice and closed once.
    drop(unsafe { Box::from_raw(device.cast::<u8>()) });
    OK
}

#[unsafe(no_mangle)]
pub extern "C" fn SDF_OpenSession(_device: *mut c_void, session: *mut *mut c_void) -> c_int {
    let opened = Box::new(Session {
        rights: Vec::new(),
        lost: false,
    });
    // SAFETY: the caller gives room for one handle.
    unsafe { *session = Box::into_raw(opened).cast() };
    OK
}

#[unsafe(no_mangle)]
pub extern "C" fn SDF_CloseSession(session: *mut c_void) -> c_int {
    // SAFETY: the handle is of SDF_OpenSession and closed once.
    drop(unsafe { Box::from_raw(session.cast::<Session>()) });
    OK
}

#[unsafe(no_mangle)]
pub extern "C" fn SDF_GetPrivateKeyAccessRight(
    session: *mut c_void,
    index: c_uint,
    password: *const c_uchar,
    length: c_uint,
) -> c_int {
    // SAFETY: handle and password are the caller's, alive during the call.
    let (session, password) = unsafe {
        (
            &mut *session.cast::<Session>(),
            std::slice::from_raw_parts(password, length as usize),
        )
    };
    count("pins");
    match fs::read(file("pin")) {
        Ok(pin) if pin == password => session.rights.push(index),
        _ => return ACCESS_RIGHT,
    }
    OK
}

#[unsafe(no_mangle)]
pub extern "C" fn SDF_ReleasePrivateKeyAccessRight(session: *mut c_void, index: c_uint) -> c_int {
    // SAFETY: the handle is of SDF_OpenSession.
    let session = unsafe { &mut *session.cast::<Session>() };
    session.rights.retain(|right| *right != index);
    OK
}

#[unsafe(no_mangle)]
pub extern "C" fn SDF_ExportSignPublicKey_ECC(
    _session: *mut c_void,
    index: c_uint,
    public: *mut EccPublicKey,
) -> c_int {
    let Some(key) = key(index) else {
        return KEY_NOT_EXIST;
    };
    let point = key.public_key().to_bytes();
    let (x, y) = (right_aligned(&point[1..33]), right_aligned(&point[33..]));
    // SAFETY: the caller gives room for one key.
    unsafe { *public = EccPublicKey { bits: 256, x, y } };
    OK
}

#[unsafe(no_mangle)]
pub extern "C" fn SDF_InternalSign_ECC(
    session: *mut c_void,
    index: c_uint,
    data: *const c_uchar,
    length: c_uint,
    signature: *mut EccSignature,
) -> c_int {
    // SAFETY: handle and data are the caller's, alive during the call.
    let (session, data) = unsafe {
        (
            &mut *session.cast::<Session>(),
            std::slice::from_raw_parts(data, length as usize),
        )
    };
    if file("away").exists() {
        return COMMUNICATION;
    }
    session.lost |= fs::remove_file(file("reboot")).is_ok();
    if session.lost {
        return HARDWARE;
    }
    if file("slow").exists() {
        std::thread::sleep(std::time::Duration::from_secs(60));
    }
    let Ok(digest) = data.try_into() else {
        return WRONG_ARGUMENT;
    };
    let Some(key) = key(index) else {
        return KEY_NOT_EXIST;
    };
    if !session.rights.contains(&index) {
        return ACCESS_RIGHT;
    }
    let Ok(mut signed) = key.sign_digest(digest) else {
        return HARDWARE;
    };
    if file("broken").exists() {
        signed[63] ^= 1;
    }
    let (r, s) = (right_aligned(&signed[..32]), right_aligned(&signed[32..]));
    // SAFETY: the caller gives room for one signature.
    unsafe { *signature = EccSignature { r, s } };
    OK
}

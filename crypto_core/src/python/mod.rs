//! The binding layer: converts types, releases the interpreter lock for the work, maps errors. No cryptography here.

mod arguments;
mod ciphers;
mod digests;
mod errors;
mod identifiers;
mod keys;

use pyo3::prelude::*;

#[pymodule]
mod _core {
    #[pymodule_export]
    use super::ciphers::{sm4_cbc_decrypt, sm4_cbc_encrypt};
    #[pymodule_export]
    use super::digests::{hmac_sm3, sm3, sm3_many};
    #[pymodule_export]
    use super::identifiers::{
        check_bank_card_luhn, check_bic, check_cnaps, check_iban, check_uscc, control_sum,
    };
    #[pymodule_export]
    use super::keys::{SigningKey, VerifyKey};
}

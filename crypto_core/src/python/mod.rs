//! The binding layer: converts types, releases the interpreter lock for the work, maps errors. No cryptography here.

mod arguments;
mod ciphers;
mod digests;
mod engine;
mod errors;
mod general;
mod identifiers;
mod keys;
mod signers;
mod tiers;

use pyo3::prelude::*;

#[pymodule]
mod _core {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::ciphers::{
        EnvelopeKey, aes_256_gcm_decrypt, aes_256_gcm_decrypt_buffer, aes_256_gcm_decrypt_many,
        aes_256_gcm_encrypt, aes_256_gcm_encrypt_buffer, aes_256_gcm_encrypt_many, envelope_key_id,
        sm4_cbc_decrypt, sm4_cbc_decrypt_buffer, sm4_cbc_decrypt_many, sm4_cbc_encrypt,
        sm4_cbc_encrypt_buffer, sm4_cbc_encrypt_many, sm4_ctr, sm4_gcm_decrypt,
        sm4_gcm_decrypt_buffer, sm4_gcm_decrypt_many, sm4_gcm_encrypt, sm4_gcm_encrypt_buffer,
        sm4_gcm_encrypt_many,
    };
    #[pymodule_export]
    use super::digests::{
        Sm3, crc32c, hmac_sha2_buffer, hmac_sha2_many, hmac_sm3, hmac_sm3_buffer, hmac_sm3_many,
        pbkdf2_sha2, sha2, sm3, sm3_buffer, sm3_kdf, sm3_many,
    };
    #[pymodule_export]
    use super::engine::{
        ciphertext_from_der, ciphertext_to_der, set_threads, signature_from_der, signature_to_der,
    };
    #[pymodule_export]
    use super::general::{GeneralSigningKey, GeneralVerifyKey};
    #[pymodule_export]
    use super::identifiers::{
        check_bank_card_luhn, check_bic, check_cnaps, check_creditor_reference, check_iban,
        check_lei, check_resident_id, check_uscc, control_sum,
    };
    #[pymodule_export]
    use super::keys::{PreparedVerifyKey, SigningKey, VerifyKey};
    #[pymodule_export]
    use super::signers::Signer;

    #[pymodule_export]
    use super::tiers::{force_tier, tier};

    /// Make the tables of G now: what no thread is making, no fork can interrupt.
    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.py().detach(crate::sm2::warm_up);
        Ok(())
    }
}

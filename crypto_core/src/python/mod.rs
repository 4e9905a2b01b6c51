//! The binding layer: converts types, releases the interpreter lock for the work, maps errors. No cryptography here.

mod arguments;
mod ciphers;
mod digests;
mod engine;
mod errors;
mod identifiers;
mod keys;
mod tiers;

use pyo3::prelude::*;

#[pymodule]
mod _core {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::ciphers::{sm4_cbc_decrypt, sm4_cbc_encrypt};
    #[pymodule_export]
    use super::digests::{hmac_sm3, sm3, sm3_many};
    #[pymodule_export]
    use super::engine::{set_threads, signature_from_der, signature_to_der};
    #[pymodule_export]
    use super::identifiers::{
        check_bank_card_luhn, check_bic, check_cnaps, check_iban, check_uscc, control_sum,
    };
    #[pymodule_export]
    use super::keys::{PreparedVerifyKey, SigningKey, VerifyKey};

    #[pymodule_export]
    use super::tiers::{force_tier, tier};

    /// Make the tables of G now: what no thread is making, no fork can interrupt.
    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.py().detach(crate::sm2::warm_up);
        Ok(())
    }
}

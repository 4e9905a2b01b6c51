"""SM2 signatures, SM3 digests, SM4-CBC and check digits of bank identifiers (国密算法与标识校验).

Batch first: hand over lists and the interpreter lock is released once for all of it. This is software, not a certified
module: production signing keys belong into one.
"""

from __future__ import annotations

from typing import Final

from yinqi.crypto._core import (  # noqa: TID251 — the one place where the extension is imported
    PreparedVerifyKey,
    SigningKey,
    VerifyKey,
    check_bank_card_luhn,
    check_bic,
    check_cnaps,
    check_iban,
    check_uscc,
    control_sum,
    force_tier,
    hmac_sm3,
    set_threads,
    signature_from_der,
    signature_to_der,
    sm3,
    sm3_many,
    sm4_cbc_decrypt,
    sm4_cbc_encrypt,
    tier,
)
from yinqi.crypto.errors import CryptoError, DecryptionFailed, InvalidKey, InvalidLength, InvalidSignature

DEFAULT_IDENTITY: Final = b"1234567812345678"
"""The signer identity of GM/T 0009, used wherever none is agreed with the bank."""

__all__ = [
    "DEFAULT_IDENTITY",
    "CryptoError",
    "DecryptionFailed",
    "InvalidKey",
    "InvalidLength",
    "InvalidSignature",
    "PreparedVerifyKey",
    "SigningKey",
    "VerifyKey",
    "check_bank_card_luhn",
    "check_bic",
    "check_cnaps",
    "check_iban",
    "check_uscc",
    "control_sum",
    "force_tier",
    "hmac_sm3",
    "set_threads",
    "signature_from_der",
    "signature_to_der",
    "sm3",
    "sm3_many",
    "sm4_cbc_decrypt",
    "sm4_cbc_encrypt",
    "tier",
]

"""A batch with one wrong item: the error names the item's index, whatever the operation, and nothing is given out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from yinqi import crypto

KEY = crypto.SigningKey.generate()
PUBLIC = KEY.public_key()
GENERAL = crypto.GeneralSigningKey.generate("ed25519")
ENVELOPES = crypto.EnvelopeKey("sm4-gcm", b"k", bytes(16))
SM4, AES = bytes(16), bytes(32)
SIGNATURE = KEY.sign(b"m")
PLACE = 3  # of the wrong item among five

Batch = list[Any]
# By name: the operation with one of its lists left open, and a good item of that list.
OPERATIONS: dict[str, tuple[Callable[[Batch], Any], bytes]] = {
    "sm2 sign": (KEY.sign_many, b"m"),
    "sm2 sign digests": (KEY.sign_digests, bytes(32)),
    "sm2 verify messages": (lambda batch: PUBLIC.verify_many(batch, [SIGNATURE] * 5), b"m"),
    "sm2 verify signatures": (lambda batch: PUBLIC.verify_many([b"m"] * 5, batch), SIGNATURE),
    "sm2 verify digests": (lambda batch: PUBLIC.verify_digests(batch, [SIGNATURE] * 5), bytes(32)),
    "signer": (crypto.Signer.from_key(KEY).sign_many, b"m"),
    "signer digests": (crypto.Signer.from_key(KEY).sign_digests, bytes(32)),
    "sm3": (crypto.sm3_many, b"m"),
    "hmac-sm3": (lambda batch: crypto.hmac_sm3_many(b"k", batch), b"m"),
    "hmac-sha2": (lambda batch: crypto.hmac_sha2_many("sha256", b"k", batch), b"m"),
    "cbc texts": (lambda batch: crypto.sm4_cbc_encrypt_many(SM4, [bytes(16)] * 5, batch), b"m"),
    "cbc ivs": (lambda batch: crypto.sm4_cbc_encrypt_many(SM4, batch, [b"m"] * 5), bytes(16)),
    "cbc ivs, opening": (lambda batch: crypto.sm4_cbc_decrypt_many(SM4, batch, [b"m"] * 5), bytes(16)),
    "gcm nonces": (lambda batch: crypto.sm4_gcm_encrypt_many(SM4, batch, [b"m"] * 5), bytes(12)),
    "gcm nonces, opening": (lambda batch: crypto.sm4_gcm_decrypt_many(SM4, batch, [b"m"] * 5), bytes(12)),
    "gcm aads": (lambda batch: crypto.sm4_gcm_encrypt_many(SM4, [bytes(12)] * 5, [b"m"] * 5, batch), b"m"),
    "aes-gcm nonces": (lambda batch: crypto.aes_256_gcm_encrypt_many(AES, batch, [b"m"] * 5), bytes(12)),
    "aes-gcm nonces, opening": (lambda batch: crypto.aes_256_gcm_decrypt_many(AES, batch, [b"m"] * 5), bytes(12)),
    "seal": (ENVELOPES.seal_many, b"m"),
    "open": (ENVELOPES.open_many, b"m"),
    "ed25519 sign": (GENERAL.sign_many, b"m"),
    "ed25519 verify": (lambda batch: GENERAL.public_key().verify_many([b"m"] * 5, batch), bytes(64)),
}
# Lists whose items must have one length.
OF_ONE_LENGTH = [name for name, (_, good) in OPERATIONS.items() if len(good) in (12, 16, 32)]


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("wrong", ["text", None, 7, bytearray(b"m"), ["m"]], ids=type)
def test_an_item_of_another_type_is_named(name: str, wrong: object) -> None:
    operation, good = OPERATIONS[name]
    batch: Batch = [good] * 5
    batch[PLACE] = wrong
    with pytest.raises(TypeError, match=rf"\[{PLACE}\]"):
        operation(batch)


@pytest.mark.parametrize("name", OF_ONE_LENGTH)
@pytest.mark.parametrize("change", [b"", b"x"], ids=["empty", "one byte longer"])
def test_an_item_of_another_length_is_named(name: str, change: bytes) -> None:
    operation, good = OPERATIONS[name]
    batch: Batch = [good] * 5
    batch[PLACE] = good + change if change else b""
    with pytest.raises(crypto.InvalidLength, match=rf"\[{PLACE}\]|item {PLACE}\b"):
        operation(batch)


def test_a_signature_that_is_wrong_in_any_way_is_a_verdict_at_its_place() -> None:
    n = bytes.fromhex("fffffffeffffffffffffffffffffffff7203df6b21c6052b53bbf40939d54123")
    r, s = SIGNATURE[:32], SIGNATURE[32:]
    for wrong in (b"", SIGNATURE[:63], SIGNATURE + b"\0", bytes(64), n + s, r + n, bytes(32) + s, b"\xff" * 64):
        for count in (1, 7, 8, 9, 63, 64, 65):
            signatures = [SIGNATURE] * count
            signatures[count // 2] = wrong
            expected = [i != count // 2 for i in range(count)]
            assert PUBLIC.verify_many([b"m"] * count, signatures) == expected

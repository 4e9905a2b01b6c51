"""SM4 batches, CTR and GCM through Python: lengths, damaged items, one error for all causes."""

from __future__ import annotations

import pytest

from yinqi import crypto

KEY = bytes.fromhex("0123456789abcdeffedcba9876543210")
NONCE = bytes(12)

GCMS = {
    "sm4": (
        KEY,
        crypto.sm4_gcm_encrypt,
        crypto.sm4_gcm_decrypt,
        crypto.sm4_gcm_encrypt_many,
        crypto.sm4_gcm_decrypt_many,
    ),
    "aes": (
        KEY * 2,
        crypto.aes_256_gcm_encrypt,
        crypto.aes_256_gcm_decrypt,
        crypto.aes_256_gcm_encrypt_many,
        crypto.aes_256_gcm_decrypt_many,
    ),
}


def test_a_refused_cbc_text_is_none_and_the_others_come_back() -> None:
    ivs = [bytes([i]) * 16 for i in range(4)]
    sealed = crypto.sm4_cbc_encrypt_many(KEY, ivs, [b"a", b"b" * 16, b"c" * 40, b""])
    sealed[1] = sealed[1][:-1]
    sealed[2] = b""
    assert crypto.sm4_cbc_decrypt_many(KEY, ivs, sealed) == [b"a", None, None, b""]


def test_a_batch_names_the_item_whose_iv_is_wrong() -> None:
    with pytest.raises(crypto.InvalidLength, match="initial vector of item 1: 16 bytes expected, got 3"):
        crypto.sm4_cbc_encrypt_many(KEY, [bytes(16), b"abc"], [b"", b""])
    with pytest.raises(crypto.InvalidLength, match=r"initial vectors: as many as texts \(2\) expected, got 1"):
        crypto.sm4_cbc_decrypt_many(KEY, [bytes(16)], [b"", b""])
    with pytest.raises(TypeError, match=r"plaintexts\[1\]"):
        crypto.sm4_cbc_encrypt_many(KEY, [bytes(16)] * 2, [b"", bytearray()])  # type: ignore[list-item]


@pytest.mark.parametrize("kind", GCMS)
def test_every_gcm_failure_is_the_same_error(kind: str) -> None:
    key, encrypt, decrypt, _, _ = GCMS[kind]
    sealed = encrypt(key, NONCE, b"payment", b"header")
    assert len(sealed) == len(b"payment") + 16
    assert decrypt(key, NONCE, sealed, b"header") == b"payment"
    other = bytes(len(key))
    texts = set()
    wrong = [
        (key, NONCE, sealed, b"other"),
        (key, NONCE, sealed, None),
        (other, NONCE, sealed, b"header"),
        (key, b"\x01" * 12, sealed, b"header"),
        (key, NONCE, sealed[:-1], b"header"),
        (key, NONCE, b"", b"header"),
        (key, NONCE, sealed[:15], b"header"),
    ]
    for arguments in wrong:
        with pytest.raises(crypto.DecryptionFailed) as caught:
            decrypt(*arguments)
        texts.add(str(caught.value))
    assert len(texts) == 1


@pytest.mark.parametrize("kind", GCMS)
def test_gcm_batches_name_what_is_wrong(kind: str) -> None:
    key, encrypt, _, encrypt_many, decrypt_many = GCMS[kind]
    assert encrypt_many(key, [], []) == []
    assert decrypt_many(key, [], []) == []
    sealed = encrypt_many(key, [NONCE, NONCE], [b"a", b"b"], [b"x", b"y"])
    assert sealed == [encrypt(key, NONCE, b"a", b"x"), encrypt(key, NONCE, b"b", b"y")]
    assert decrypt_many(key, [NONCE, NONCE], sealed, [b"x", b"x"]) == [b"a", None]
    with pytest.raises(crypto.InvalidLength, match="nonce of item 1: 12 bytes expected, got 11"):
        encrypt_many(key, [NONCE, NONCE[1:]], [b"", b""])
    with pytest.raises(crypto.InvalidLength, match=r"nonces: as many as plaintexts \(1\) expected, got 2"):
        encrypt_many(key, [NONCE, NONCE], [b""])
    with pytest.raises(crypto.InvalidLength, match=r"aads: as many as ciphertexts \(1\) expected, got 0"):
        decrypt_many(key, [NONCE], [b""], [])
    with pytest.raises(crypto.InvalidLength, match="key: "):
        encrypt(key[1:], NONCE, b"")
    with pytest.raises(TypeError, match=r"nonces\[0\]"):
        encrypt_many(key, ["a"], [b""])  # type: ignore[list-item]


def test_ctr_wants_a_key_and_a_counter_of_16_bytes() -> None:
    with pytest.raises(crypto.InvalidLength, match="counter block: 16 bytes"):
        crypto.sm4_ctr(KEY, NONCE, b"")
    with pytest.raises(crypto.InvalidLength, match="SM4 key: 16 bytes"):
        crypto.sm4_ctr(KEY * 2, bytes(16), b"")

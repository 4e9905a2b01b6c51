"""SM4-CBC through Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from yinqi.crypto import DecryptionFailed, InvalidLength, sm4_cbc_decrypt, sm4_cbc_encrypt

KEY = bytes.fromhex("0123456789abcdeffedcba9876543210")
IV = bytes(range(16))


def test_the_samples_of_the_standard(read_vectors: Callable[[str], Any]) -> None:
    for case in read_vectors("sm4/gbt_32907.json")["tests"]:
        key, iv, plaintext, ciphertext = (
            bytes.fromhex(case[name]) for name in ("key", "iv", "plaintext", "ciphertext")
        )
        sealed = sm4_cbc_encrypt(key, iv, plaintext)
        assert sealed[: len(ciphertext)] == ciphertext, case["comment"]
        assert sm4_cbc_decrypt(key, iv, sealed) == plaintext, case["comment"]


@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 63, 64, 65, 4096])
def test_what_was_encrypted_comes_back(length: int) -> None:
    plaintext = bytes(i % 251 for i in range(length))
    sealed = sm4_cbc_encrypt(KEY, IV, plaintext)
    assert len(sealed) == length // 16 * 16 + 16
    assert sm4_cbc_decrypt(KEY, IV, sealed) == plaintext


def test_bad_padding_and_bad_lengths_are_one_and_the_same_error() -> None:
    sealed = sm4_cbc_encrypt(KEY, IV, b"x" * 20)
    # Changing the last byte of the block before changes the padding byte, 12, to 13, and so on.
    damaged = [sealed[:15] + bytes([sealed[15] ^ change]) + sealed[16:] for change in (1, 12, 255)]
    texts = set()
    for ciphertext in [b"", sealed[:-1], sealed + b"\x00", sealed[:16], *damaged]:
        with pytest.raises(DecryptionFailed) as caught:
            sm4_cbc_decrypt(KEY, IV, ciphertext)
        texts.add(str(caught.value))
    assert len(texts) == 1


def test_a_key_or_iv_of_the_wrong_length_is_the_caller_s_mistake() -> None:
    for length in (0, 15, 17, 32):
        with pytest.raises(InvalidLength, match="SM4 key: 16 bytes"):
            sm4_cbc_encrypt(b"k" * length, IV, b"")
        with pytest.raises(InvalidLength, match="initial vector: 16 bytes"):
            sm4_cbc_decrypt(KEY, b"i" * length, b"x" * 16)

"""The vectors of the package cryptography-vectors for SM3 and SM4."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cryptography_vectors import open_vector_file

from yinqi import crypto


def read_cases(path: str, first: str) -> Iterator[dict[str, str]]:
    """Blocks of `name = value` lines; the key `first` begins a new one. Names in lower case."""
    case: dict[str, str] = {}
    with open_vector_file(path, "r") as file:
        for line in file:
            name, equals, value = line.partition("=")
            if not equals or line.startswith("#"):
                continue
            if name.strip().lower() == first and case:
                yield case
                case = {}
            case[name.strip().lower()] = value.strip().strip('"')
    if case:
        yield case


@pytest.fixture(params=["portable", None])
def tier(request: pytest.FixtureRequest) -> Iterator[None]:
    """The portable tier, and the best one of this processor."""
    crypto.force_tier(request.param)
    yield
    crypto.force_tier(None)


@pytest.mark.usefixtures("tier")
def test_sm3() -> None:
    seen = 0
    for case in read_cases("hashes/SM3/oscca.txt", "len"):
        message = bytes.fromhex(case["msg"])[: int(case["len"]) // 8]
        assert crypto.sm3(message).hex() == case["md"].lower()
        assert crypto.sm3_many([message] * 20) == [bytes.fromhex(case["md"])] * 20
        seen += 1
    assert seen >= 2


@pytest.mark.usefixtures("tier")
def test_sm4_cbc() -> None:
    seen = 0
    for case in read_cases("ciphers/SM4/draft-ribose-cfrg-sm4-10-cbc.txt", "count"):
        if "plaintext" not in case:
            continue
        key, iv, plaintext, ciphertext = (bytes.fromhex(case[n]) for n in ("key", "iv", "plaintext", "ciphertext"))
        sealed = crypto.sm4_cbc_encrypt(key, iv, plaintext)
        assert sealed[: len(ciphertext)] == ciphertext
        assert crypto.sm4_cbc_decrypt(key, iv, sealed) == plaintext
        seen += 1
    assert seen >= 2


@pytest.mark.usefixtures("tier")
def test_sm4_ctr() -> None:
    seen = 0
    for case in read_cases("ciphers/SM4/draft-ribose-cfrg-sm4-10-ctr.txt", "count"):
        if "plaintext" not in case:
            continue
        key, iv, plaintext, ciphertext = (bytes.fromhex(case[n]) for n in ("key", "iv", "plaintext", "ciphertext"))
        assert crypto.sm4_ctr(key, iv, plaintext) == ciphertext
        seen += 1
    assert seen >= 2


@pytest.mark.usefixtures("tier")
def test_sm4_gcm_of_rfc_8998() -> None:
    seen = 0
    for case in read_cases("ciphers/SM4/rfc8998.txt", "count"):
        if len(case["iv"]) != 24 or "tag" not in case or len(case["tag"]) != 32:
            continue  # The other cases are of CCM.
        names = ("key", "iv", "plaintext", "aad", "ciphertext", "tag")
        key, nonce, plaintext, aad, ciphertext, tag = (bytes.fromhex(case[name]) for name in names)
        assert crypto.sm4_gcm_encrypt(key, nonce, plaintext, aad) == ciphertext + tag
        assert crypto.sm4_gcm_decrypt(key, nonce, ciphertext + tag, aad) == plaintext
        seen += 1
    assert seen >= 1

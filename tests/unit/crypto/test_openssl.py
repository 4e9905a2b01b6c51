"""Beside OpenSSL and GmSSL: SM2 both ways, and 100,000 messages through each symmetric operation, each tier forced."""

from __future__ import annotations

import random
from collections.abc import Iterator

import gmssl_pyx
import pytest
from cryptography.hazmat.primitives import hashes, hmac, padding
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import SM4
from tests.evidence import openssl

from yinqi import crypto

CASES, PER_KEY = 100_000, 1_000


@pytest.fixture(autouse=True)
def _any_tier_afterwards() -> Iterator[None]:
    yield
    crypto.force_tier(None)


def tiers() -> Iterator[str]:
    """Each tier of this processor, forced."""
    for tier in ("portable", "avx2", "avx512"):
        try:
            crypto.force_tier(tier)
        except ValueError:
            return
        yield tier


def batches() -> Iterator[tuple[bytes, list[bytes], list[bytes]]]:
    """A key with 1,000 texts of 1 to 130 bytes and as many blocks, a hundred times."""
    chance = random.Random(20261122)
    for _ in range(CASES // PER_KEY):
        texts = [chance.randbytes(1 + chance.randrange(130)) for _ in range(PER_KEY)]
        yield chance.randbytes(16), texts, [chance.randbytes(16) for _ in texts]


def test_each_side_reads_what_the_other_signed_and_sealed(capsys: pytest.CaptureFixture[str]) -> None:
    openssl.openssl(short=True)
    printed = capsys.readouterr().out
    if "left out" in printed:
        pytest.skip(printed.strip())
    assert "portable: 200 cases" in printed


def test_sm3_and_its_codes_agree_on_100_000_messages_in_each_tier() -> None:
    for key, texts, _ in batches():
        digests = [gmssl_pyx.sm3_hash(text) for text in texts]
        start, code_start = hashes.Hash(hashes.SM3()), hmac.HMAC(key, hashes.SM3())
        theirs, codes = [], []
        for text in texts:
            (digest := start.copy()).update(text)
            (code := code_start.copy()).update(text)
            theirs.append(digest.finalize())
            codes.append(code.finalize())
        assert theirs == digests
        for tier in tiers():
            assert crypto.sm3_many(texts) == digests, tier
            assert crypto.hmac_sm3_many(key, texts) == codes, tier


def test_sm4_agrees_on_100_000_texts_in_each_mode_and_tier() -> None:
    for key, texts, blocks in batches():
        cipher = SM4(key)
        cbc = [gmssl_pyx.sm4_cbc_padding_encrypt(key, iv, text) for iv, text in zip(blocks, texts, strict=True)]
        ctr, gcm = [], []
        for i, (block, text) in enumerate(zip(blocks, texts, strict=True)):
            padder = padding.PKCS7(128).padder()
            encryptor = Cipher(cipher, modes.CBC(block)).encryptor()
            assert encryptor.update(padder.update(text) + padder.finalize()) == cbc[i]
            encryptor = Cipher(cipher, modes.CTR(block)).encryptor()
            ctr.append(encryptor.update(text))
            encryptor = Cipher(cipher, modes.GCM(block[:12])).encryptor()
            encryptor.authenticate_additional_data(block)
            gcm.append(encryptor.update(text) + encryptor.finalize() + encryptor.tag)
        nonces = [block[:12] for block in blocks]
        for tier in tiers():
            assert crypto.sm4_cbc_encrypt_many(key, blocks, texts) == cbc, tier
            assert crypto.sm4_cbc_decrypt_many(key, blocks, cbc) == texts, tier
            assert [crypto.sm4_ctr(key, block, text) for block, text in zip(blocks, texts, strict=True)] == ctr, tier
            assert crypto.sm4_gcm_encrypt_many(key, nonces, texts, blocks) == gcm, tier
            assert crypto.sm4_gcm_decrypt_many(key, nonces, gcm, blocks) == texts, tier

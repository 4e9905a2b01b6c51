"""Every tier against other people's implementations, in batches of every odd size. Seeds are fixed."""

from __future__ import annotations

import random
from collections.abc import Iterator

import gmssl_pyx
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, hmac, padding
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import SM4

from yinqi import crypto

SIZES = [0, 1, 7, 8, 9, 15, 16, 17, 63, 64, 65, 1000]
TIERS = ["portable", "avx2", "avx512"]


@pytest.fixture(params=TIERS)
def tier(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each tier that this processor has, forced."""
    try:
        crypto.force_tier(request.param)
    except ValueError as error:
        pytest.skip(str(error))
    yield request.param
    crypto.force_tier(None)


@pytest.fixture
def chance() -> random.Random:
    return random.Random(20261122)


def mixed(chance: random.Random, count: int) -> list[bytes]:
    """Lengths around the block edges, a few long ones among them."""
    lengths = [0, 1, 15, 16, 17, 31, 55, 56, 63, 64, 65, 119, 120, 256, 256, 256, 1000, 3000]
    return [chance.randbytes(chance.choice(lengths)) for _ in range(count)]


def sm3_of(data: bytes) -> bytes:
    digest = hashes.Hash(hashes.SM3())
    digest.update(data)
    return digest.finalize()


def test_a_forced_tier_is_the_one_in_use_and_unknown_ones_are_refused(tier: str) -> None:
    assert crypto.tier() == tier
    with pytest.raises(ValueError, match="portable, avx2, avx512"):
        crypto.force_tier("sse2")
    assert crypto.tier() == tier


@pytest.mark.parametrize("size", SIZES)
def test_sm3_and_its_hmac_agree_with_openssl(tier: str, size: int, chance: random.Random) -> None:
    items = mixed(chance, size)
    assert crypto.sm3_many(items) == [sm3_of(item) for item in items]
    same = [chance.randbytes(256) for _ in range(size)]
    assert crypto.sm3_many(same) == [sm3_of(item) for item in same]
    key = chance.randbytes(chance.choice([0, 20, 64, 100]))
    expected = []
    for item in items:
        code = hmac.HMAC(key, hashes.SM3())
        code.update(item)
        expected.append(code.finalize())
    assert crypto.hmac_sm3_many(key, items) == expected


@pytest.mark.parametrize("size", SIZES)
def test_sm4_cbc_agrees_with_openssl(tier: str, size: int, chance: random.Random) -> None:
    key = chance.randbytes(16)
    items = mixed(chance, size)
    ivs = [chance.randbytes(16) for _ in items]
    sealed = crypto.sm4_cbc_encrypt_many(key, ivs, items)
    for iv, item, result in zip(ivs, items, sealed, strict=True):
        padder = padding.PKCS7(128).padder()
        encryptor = Cipher(SM4(key), modes.CBC(iv)).encryptor()
        assert result == encryptor.update(padder.update(item) + padder.finalize()) + encryptor.finalize()
    assert crypto.sm4_cbc_decrypt_many(key, ivs, sealed) == items


@pytest.mark.parametrize("size", SIZES)
def test_sm4_gcm_agrees_with_openssl(tier: str, size: int, chance: random.Random) -> None:
    key = chance.randbytes(16)
    items, aads = mixed(chance, size), mixed(chance, size)
    nonces = [chance.randbytes(12) for _ in items]
    sealed = crypto.sm4_gcm_encrypt_many(key, nonces, items, aads)
    for nonce, item, aad, result in zip(nonces, items, aads, sealed, strict=True):
        encryptor = Cipher(SM4(key), modes.GCM(nonce)).encryptor()
        encryptor.authenticate_additional_data(aad)
        assert result == encryptor.update(item) + encryptor.finalize() + encryptor.tag
    assert crypto.sm4_gcm_decrypt_many(key, nonces, sealed, aads) == items


def test_a_damaged_item_is_none_and_harms_no_neighbour(tier: str, chance: random.Random) -> None:
    key = chance.randbytes(16)
    items = mixed(chance, 100)
    nonces = [chance.randbytes(12) for _ in items]
    sealed = crypto.sm4_gcm_encrypt_many(key, nonces, items)
    damaged = set(chance.sample(range(100), 40))
    for i in damaged:
        changed = bytearray(sealed[i])
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        sealed[i] = bytes(changed) if i % 3 else sealed[i][: chance.randrange(len(changed))]
    opened = crypto.sm4_gcm_decrypt_many(key, nonces, sealed)
    assert opened == [None if i in damaged else item for i, item in enumerate(items)]


def test_sm4_ctr_agrees_with_openssl_for_every_length(tier: str, chance: random.Random) -> None:
    for length in [*range(70), 255, 256, 257, 1023, 1024, 1025, 5000]:
        key, counter, data = chance.randbytes(16), chance.randbytes(16), chance.randbytes(length)
        encryptor = Cipher(SM4(key), modes.CTR(counter)).encryptor()
        assert crypto.sm4_ctr(key, counter, data) == encryptor.update(data) + encryptor.finalize()
    # The counter begins again after its last value.
    key, last, data = chance.randbytes(16), b"\xff" * 16, chance.randbytes(100)
    encryptor = Cipher(SM4(key), modes.CTR(last)).encryptor()
    assert crypto.sm4_ctr(key, last, data) == encryptor.update(data) + encryptor.finalize()


def test_gmssl_agrees_on_random_texts(tier: str, chance: random.Random) -> None:
    for _ in range(300):
        key, iv, data = chance.randbytes(16), chance.randbytes(16), chance.randbytes(chance.randrange(1, 300))
        assert crypto.sm3(data) == gmssl_pyx.sm3_hash(data)
        sealed = crypto.sm4_cbc_encrypt(key, iv, data)
        assert sealed == gmssl_pyx.sm4_cbc_padding_encrypt(key, iv, data)
        assert crypto.sm4_cbc_decrypt(key, iv, sealed) == data


def test_random_ciphertexts_are_refused_as_openssl_refuses_them(tier: str, chance: random.Random) -> None:
    key = chance.randbytes(16)
    for _ in range(300):
        nonce, sealed = chance.randbytes(12), chance.randbytes(chance.randrange(60))
        with pytest.raises(crypto.DecryptionFailed):
            crypto.sm4_gcm_decrypt(key, nonce, sealed)
        if len(sealed) >= 16:
            decryptor = Cipher(SM4(key), modes.GCM(nonce, sealed[-16:])).decryptor()
            decryptor.update(sealed[:-16])
            with pytest.raises(InvalidTag):
                decryptor.finalize()

"""The same inputs through other people's implementations. Seeds are fixed, so a failure repeats."""

from __future__ import annotations

import random
from collections.abc import Iterator

import gmssl_pyx
import pytest
from cryptography.hazmat.primitives import hashes, hmac, padding
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import SM4

from yinqi.crypto import (
    DecryptionFailed,
    SigningKey,
    VerifyKey,
    hmac_sm3,
    sm3_many,
    sm4_cbc_decrypt,
    sm4_cbc_encrypt,
)


@pytest.fixture
def chance() -> random.Random:
    return random.Random(20261122)


def der(signature: bytes) -> bytes:
    """SEQUENCE of two INTEGERs, as GmSSL takes signatures."""

    def integer(data: bytes) -> bytes:
        body = data.lstrip(b"\x00")
        body = b"\x00" + body if body[0] >= 0x80 else body
        return b"\x02" + bytes([len(body)]) + body

    body = integer(signature[:32]) + integer(signature[32:])
    return b"\x30" + bytes([len(body)]) + body


def raw(signature: bytes) -> bytes:
    """r‖s out of such a SEQUENCE."""
    r_end = 4 + signature[3]
    numbers = signature[4:r_end], signature[r_end + 2 :]
    return b"".join(number.lstrip(b"\x00").rjust(32, b"\x00") for number in numbers)


def messages(chance: random.Random, count: int) -> Iterator[tuple[bytes, bytes]]:
    for _ in range(count):
        yield (
            chance.randbytes(chance.choice([0, 1, 31, 55, 56, 64, 100, 256, 1000])),
            chance.randbytes(chance.choice([0, 1, 16, 18, 64, 300])),
        )


def test_gmalglib_accepts_our_signatures_and_we_accept_its(chance: random.Random) -> None:
    gmalglib_sm2 = pytest.importorskip("gmalglib.sm2", reason="gmalglib has no wheels and could not be built here")
    for message, identity in messages(chance, 200):
        key = SigningKey.generate()
        public = key.public_key()
        theirs = gmalglib_sm2.SM2(key.to_bytes(), uid=identity)
        assert theirs.get_pk(key.to_bytes()) == public.to_bytes()
        signature = key.sign(message, identity)
        assert theirs.verify(message, signature)
        changed = bytearray(signature)
        changed[chance.randrange(64)] ^= 1 << chance.randrange(8)
        assert not theirs.verify(message, bytes(changed))
        their_signature = theirs.sign(message)
        assert public.verify_many([message, message], [their_signature, bytes(changed)], identity) == [True, False]


def test_gmssl_accepts_our_signatures_and_we_accept_its(chance: random.Random) -> None:
    for message, identity in messages(chance, 150):
        public, private = gmssl_pyx.sm2_key_generate()
        key = SigningKey.from_bytes(private)
        assert key.public_key().to_bytes()[1:] == public
        identity = identity or b"1"
        assert gmssl_pyx.sm2_verify(public, message, der(key.sign(message, identity)), identity)
        signature = raw(gmssl_pyx.sm2_sign(private, public, message, identity))
        VerifyKey.from_bytes(public).verify(message, signature, identity)


def test_sm3_and_its_hmac_agree_with_three_others(chance: random.Random) -> None:
    items = [chance.randbytes(chance.randrange(400)) for _ in range(400)]
    for item, digest in zip(items, sm3_many(items), strict=True):
        theirs = hashes.Hash(hashes.SM3())
        theirs.update(item)
        assert digest == theirs.finalize() == gmssl_pyx.sm3_hash(item)
        key = chance.randbytes(chance.randrange(1, 150))
        code = hmac.HMAC(key, hashes.SM3())
        code.update(item)
        assert hmac_sm3(key, item) == code.finalize()


def test_sm4_cbc_agrees_with_two_others(chance: random.Random) -> None:
    for _ in range(400):
        key, iv, plaintext = chance.randbytes(16), chance.randbytes(16), chance.randbytes(chance.randrange(200))
        padder = padding.PKCS7(128).padder()
        encryptor = Cipher(SM4(key), modes.CBC(iv)).encryptor()
        expected = encryptor.update(padder.update(plaintext) + padder.finalize()) + encryptor.finalize()
        assert sm4_cbc_encrypt(key, iv, plaintext) == expected
        if plaintext:  # GmSSL's binding takes no empty plaintext.
            assert gmssl_pyx.sm4_cbc_padding_encrypt(key, iv, plaintext) == expected
        assert sm4_cbc_decrypt(key, iv, expected) == plaintext


def test_random_ciphertexts_are_refused_exactly_when_another_refuses_them(chance: random.Random) -> None:
    verdicts = []
    for _ in range(2_000):
        key, iv, ciphertext = chance.randbytes(16), chance.randbytes(16), chance.randbytes(16)
        decryptor = Cipher(SM4(key), modes.CBC(iv)).decryptor()
        unpadder = padding.PKCS7(128).unpadder()
        padded = decryptor.update(ciphertext) + decryptor.finalize()
        try:
            expected = unpadder.update(padded) + unpadder.finalize()
        except ValueError:
            with pytest.raises(DecryptionFailed):
                sm4_cbc_decrypt(key, iv, ciphertext)
            verdicts.append(False)
        else:
            assert sm4_cbc_decrypt(key, iv, ciphertext) == expected
            verdicts.append(True)
    assert True in verdicts

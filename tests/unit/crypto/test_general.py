"""Ed25519, ECDSA, RSA, AES-GCM, SHA-2, HMAC, PBKDF2 and CRC32C against Python's own and OpenSSL."""

from __future__ import annotations

import copy
import hashlib
import hmac
import random

import pytest
from cryptography.exceptions import InvalidSignature as OpenSslInvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from yinqi import crypto


@pytest.fixture
def chance() -> random.Random:
    return random.Random(20261122)


def pkcs8(key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def test_ed25519_agrees_with_openssl(chance: random.Random) -> None:
    theirs = ed25519.Ed25519PrivateKey.from_private_bytes(chance.randbytes(32))
    ours = crypto.GeneralSigningKey.from_pkcs8("ed25519", pkcs8(theirs))
    messages = [chance.randbytes(length) for length in range(50)]
    signatures = ours.sign_many(messages)
    assert signatures == [theirs.sign(message) for message in messages]
    public = ours.public_key()
    assert public.verify_many(messages, signatures) == [True] * 50
    assert public.verify_many(messages, signatures[::-1]).count(True) == 0
    assert crypto.GeneralVerifyKey.from_bytes("ed25519", theirs.public_key().public_bytes_raw()).to_der() == (
        theirs.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def test_ecdsa_agrees_with_openssl() -> None:
    theirs = ec.generate_private_key(ec.SECP256R1())
    ours = crypto.GeneralSigningKey.from_pkcs8("ecdsa-p256-sha256", pkcs8(theirs))
    theirs.public_key().verify(ours.sign(b"text"), b"text", ec.ECDSA(hashes.SHA256()))
    ours.public_key().verify(b"text", theirs.sign(b"text", ec.ECDSA(hashes.SHA256())))
    raw = crypto.GeneralSigningKey.from_pkcs8("ecdsa-p256-sha256-raw", pkcs8(theirs))
    assert len(raw.sign(b"text")) == 64
    raw.public_key().verify(b"text", raw.sign(b"text"))
    with pytest.raises(crypto.InvalidSignature):
        raw.public_key().verify(b"text", ours.sign(b"text"))


@pytest.mark.parametrize("bits", [256, 384, 512])
@pytest.mark.parametrize("scheme", ["pkcs1", "pss"])
def test_rsa_agrees_with_openssl(scheme: str, bits: int, rsa_key: rsa.RSAPrivateKey) -> None:
    digest = {256: hashes.SHA256(), 384: hashes.SHA384(), 512: hashes.SHA512()}[bits]
    how = padding.PKCS1v15() if scheme == "pkcs1" else padding.PSS(padding.MGF1(digest), digest.digest_size)
    ours = crypto.GeneralSigningKey.from_pkcs8(f"rsa-{scheme}-sha{bits}", pkcs8(rsa_key))
    rsa_key.public_key().verify(ours.sign(b"text"), b"text", how, digest)
    signature = rsa_key.sign(b"text", how, digest)
    public = ours.public_key()
    public.verify(b"text", signature)
    assert public.verify_many([b"text", b"texT"], [signature, signature]) == [True, False]
    other = padding.PSS(padding.MGF1(digest), digest.digest_size) if scheme == "pkcs1" else padding.PKCS1v15()
    with pytest.raises(OpenSslInvalidSignature):
        rsa_key.public_key().verify(ours.sign(b"text"), b"text", other, digest)


def test_short_rsa_keys_and_foreign_keys_are_refused() -> None:
    short = rsa.generate_private_key(65537, 1024)
    with pytest.raises(crypto.InvalidKey):
        crypto.GeneralSigningKey.from_pkcs8("rsa-pss-sha256", pkcs8(short))
    public = short.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    with pytest.raises(crypto.InvalidKey):
        crypto.GeneralVerifyKey.from_bytes("rsa-pss-sha256", public)
    with pytest.raises(crypto.InvalidKey):
        crypto.GeneralVerifyKey.from_bytes("ed25519", public)
    with pytest.raises(crypto.InvalidKey):
        crypto.GeneralSigningKey.from_pkcs8("ed25519", b"")
    with pytest.raises(crypto.UnknownAlgorithm, match="rsa-pss-sha256"):
        crypto.GeneralSigningKey.generate("rsa-pkcs1-sha1")


def test_random_bytes_are_refused_as_keys_and_as_signatures(chance: random.Random) -> None:
    key = crypto.GeneralSigningKey.generate("ecdsa-p256-sha256").public_key()
    whole = key.to_der()
    for algorithm in ("ed25519", "ecdsa-p256-sha256", "rsa-pss-sha256"):
        for _ in range(300):
            damaged = bytearray(whole)
            damaged[chance.randrange(26)] ^= 1 << chance.randrange(8)
            cut = chance.choice([i for i in range(91) if i != 32])  # Any 32 bytes may be an Ed25519 key.
            for data in (chance.randbytes(chance.randrange(31)), bytes(damaged[:cut])):
                with pytest.raises(crypto.InvalidKey):
                    crypto.GeneralVerifyKey.from_bytes(algorithm, data)
                with pytest.raises(crypto.InvalidKey):
                    crypto.GeneralSigningKey.from_pkcs8(algorithm, data)
    signatures = [chance.randbytes(chance.randrange(80)) for _ in range(300)]
    assert not any(key.verify_many([b""] * 300, signatures))


def test_a_private_key_goes_out_only_when_asked() -> None:
    key = crypto.GeneralSigningKey.generate("ed25519")
    again = crypto.GeneralSigningKey.from_pkcs8("ed25519", key.to_pkcs8())
    assert again.sign(b"text") == key.sign(b"text")
    with pytest.raises(TypeError):
        copy.copy(key)
    assert "object at" in repr(key)


def test_aes_256_gcm_agrees_with_openssl(chance: random.Random) -> None:
    key = chance.randbytes(32)
    items = [chance.randbytes(length) for length in range(200)]
    nonces = [chance.randbytes(12) for _ in items]
    expected = [AESGCM(key).encrypt(nonce, item, nonce) for nonce, item in zip(nonces, items, strict=True)]
    assert crypto.aes_256_gcm_encrypt_many(key, nonces, items, nonces) == expected
    assert crypto.aes_256_gcm_decrypt_many(key, nonces, expected, nonces) == items


@pytest.mark.parametrize("name", ["sha256", "sha384", "sha512"])
def test_sha_2_and_its_codes_agree_with_python(name: str, chance: random.Random) -> None:
    items = [chance.randbytes(length) for length in range(150)]
    key = chance.randbytes(40)
    assert [crypto.sha2(name, item) for item in items] == [hashlib.new(name, item).digest() for item in items]
    assert crypto.hmac_sha2_many(name, key, items) == [hmac.digest(key, item, name) for item in items]
    derived = crypto.pbkdf2_sha2(name, b"password", b"salt", 10_000, 50)
    assert derived == hashlib.pbkdf2_hmac(name, b"password", b"salt", 10_000, 50)


def test_weak_derivations_and_unknown_digests_are_refused() -> None:
    with pytest.raises(crypto.InvalidLength, match="at least 10,000"):
        crypto.pbkdf2_sha2("sha256", b"password", b"salt", 9_999, 32)
    with pytest.raises(crypto.InvalidLength, match="password"):
        crypto.pbkdf2_sha2("sha256", b"", b"salt", 10_000, 32)
    with pytest.raises(crypto.UnknownAlgorithm, match="sha256, sha384 or sha512"):
        crypto.sha2("md5", b"")


def test_crc32c_has_its_check_value_and_goes_on() -> None:
    assert crypto.crc32c(b"123456789") == 0xE3069283
    assert crypto.crc32c(b"56789", crypto.crc32c(b"1234")) == 0xE3069283
    assert crypto.crc32c(b"") == 0


def test_sm3_in_pieces_is_sm3_of_the_whole(chance: random.Random) -> None:
    whole = chance.randbytes(10_000)
    digest, fed = crypto.Sm3(), 0
    while fed < len(whole):
        taken = chance.randrange(300)
        digest.update(whole[fed : fed + taken])
        fed = min(fed + taken, len(whole))
        assert digest.digest() == crypto.sm3(whole[:fed])
    copied = digest.copy()
    copied.update(b"more")
    assert copied.digest() == crypto.sm3(whole + b"more")
    assert digest.digest() == crypto.sm3(whole)


def test_sm3_kdf_is_the_standard_s_chain_of_digests() -> None:
    chain = b"".join(crypto.sm3(b"secret" + counter.to_bytes(4, "big")) for counter in range(1, 101))
    for length in (0, 1, 32, 33, 3200):
        assert crypto.sm3_kdf(b"secret", length) == chain[:length]
    with pytest.raises(crypto.InvalidLength):
        crypto.sm3_kdf(b"secret", 2**31)

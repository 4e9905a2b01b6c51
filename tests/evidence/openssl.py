"""Evidence on SM2 beside the system's OpenSSL 3: each side reads what the other signed and sealed, each tier forced.

OpenSSL is called through ctypes, for the Python packages that wrap it have no SM2.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import random
from collections.abc import Callable, Sequence
from typing import Any

from yinqi import crypto

CASES, CASES_SHORT = 100_000, 600
_SIGNATURE_MAX = 80
_NONE = ctypes.c_void_p(None)


class Missing(Exception):
    """There is no OpenSSL 3 here; the text says so."""


class OpenSsl:
    """SM2 of libcrypto 3."""

    def __init__(self) -> None:
        name = ctypes.util.find_library("crypto")
        self._library: Any = ctypes.CDLL(name) if name else None
        if self._library is None or not hasattr(self._library, "EVP_PKEY_CTX_set1_id"):
            raise Missing("needs the system's OpenSSL 3 (libcrypto.so.3)")
        for function in ("EVP_sm3", "EVP_MD_CTX_new", "EVP_PKEY_CTX_new", "d2i_PUBKEY", "d2i_AutoPrivateKey"):
            getattr(self._library, function).restype = ctypes.c_void_p
        self._sm3 = ctypes.c_void_p(self._library.EVP_sm3())

    def public_key(self, der: bytes) -> ctypes.c_void_p:
        """Read a SubjectPublicKeyInfo."""
        return self._read(self._library.d2i_PUBKEY, der)

    def private_key(self, der: bytes) -> ctypes.c_void_p:
        """Read a PKCS#8 PrivateKeyInfo."""
        return self._read(self._library.d2i_AutoPrivateKey, der)

    def verify(self, key: ctypes.c_void_p, message: bytes, signature: bytes, identity: bytes) -> bool:
        """Check a DER signature."""
        made = self._library.EVP_DigestVerify
        return bool(
            self._digested(
                key, identity, "Verify", lambda c: made(c, signature, _size(signature), message, _size(message))
            )
            == 1
        )

    def sign(self, key: ctypes.c_void_p, message: bytes, identity: bytes) -> bytes:
        """Return a DER signature."""
        output, length = ctypes.create_string_buffer(_SIGNATURE_MAX), ctypes.c_size_t(_SIGNATURE_MAX)
        made = self._library.EVP_DigestSign
        done = self._digested(
            key, identity, "Sign", lambda c: made(c, output, ctypes.byref(length), message, _size(message))
        )
        assert done == 1
        return output.raw[: length.value]

    def encrypt(self, key: ctypes.c_void_p, plaintext: bytes) -> bytes:
        """Return a ciphertext in the DER of GM/T 0009."""
        sealed = self._translate(key, "encrypt", plaintext)
        assert sealed is not None
        return sealed

    def decrypt(self, key: ctypes.c_void_p, ciphertext: bytes) -> bytes | None:
        """Open such a ciphertext; None if it is refused."""
        return self._translate(key, "decrypt", ciphertext)

    def _read(self, function: Any, der: bytes) -> ctypes.c_void_p:
        place = ctypes.c_char_p(der)
        key = ctypes.c_void_p(function(None, ctypes.byref(place), ctypes.c_long(len(der))))
        assert key.value
        return key

    def _digested(
        self, key: ctypes.c_void_p, identity: bytes, kind: str, work: Callable[[ctypes.c_void_p], int]
    ) -> int:
        library = self._library
        context, of_key = (
            ctypes.c_void_p(library.EVP_MD_CTX_new()),
            ctypes.c_void_p(library.EVP_PKEY_CTX_new(key, _NONE)),
        )
        try:
            assert library.EVP_PKEY_CTX_set1_id(of_key, identity, _size(identity)) == 1
            library.EVP_MD_CTX_set_pkey_ctx(context, of_key)
            assert getattr(library, f"EVP_Digest{kind}Init")(context, _NONE, self._sm3, _NONE, key) == 1
            return work(context)
        finally:
            library.EVP_MD_CTX_free(context)
            library.EVP_PKEY_CTX_free(of_key)

    def _translate(self, key: ctypes.c_void_p, kind: str, data: bytes) -> bytes | None:
        library = self._library
        context = ctypes.c_void_p(library.EVP_PKEY_CTX_new(key, _NONE))
        try:
            assert getattr(library, f"EVP_PKEY_{kind}_init")(context) == 1
            output, length = ctypes.create_string_buffer(len(data) + 256), ctypes.c_size_t(len(data) + 256)
            done = getattr(library, f"EVP_PKEY_{kind}")(context, output, ctypes.byref(length), data, _size(data))
            library.ERR_clear_error()
            return output.raw[: length.value] if done == 1 else None
        finally:
            library.EVP_PKEY_CTX_free(context)


def _size(data: bytes) -> ctypes.c_size_t:
    return ctypes.c_size_t(len(data))


def openssl(short: bool) -> None:
    """Print how many signatures and ciphertexts each side took from the other; AssertionError at the first difference."""
    try:
        theirs = OpenSsl()
    except Missing as error:
        print(f"left out: {error}")
        return
    cases = CASES_SHORT if short else CASES
    tiers = [tier for tier in ("portable", "avx2", "avx512") if _can_force(tier)]
    try:
        for tier in tiers:
            crypto.force_tier(tier)
            compare(theirs, cases // len(tiers), random.Random(tier))
            print(
                f"{tier}: {cases // len(tiers):,} cases of signing, verifying, sealing and opening, both ways",
                flush=True,
            )
    finally:
        crypto.force_tier(None)


def compare(theirs: OpenSsl, cases: int, chance: random.Random) -> None:
    """Compare in the active tier, 100 cases under each key and identity; every third one is damaged and must be refused by both."""
    for begin in range(0, cases, 100):
        key = crypto.SigningKey.generate()
        public, private = theirs.public_key(key.public_key().to_der()), theirs.private_key(key.to_pkcs8())
        identity = chance.randbytes(chance.choice([1, 16, 18, 300]))
        messages = [chance.randbytes(chance.randrange(1, 300)) for _ in range(min(100, cases - begin))]
        _compare_signatures(theirs, key, public, private, identity, messages, chance)
        _compare_ciphertexts(theirs, key, public, private, messages, chance)


def _compare_signatures(
    theirs: OpenSsl,
    key: crypto.SigningKey,
    public: ctypes.c_void_p,
    private: ctypes.c_void_p,
    identity: bytes,
    messages: Sequence[bytes],
    chance: random.Random,
) -> None:
    made = key.sign_many(list(messages), identity)
    for i in range(2, len(made), 3):
        made[i] = _damaged(made[i], chance)
    expected = [i % 3 != 2 for i in range(len(made))]
    assert key.public_key().verify_many(list(messages), made, identity) == expected
    ders = [crypto.signature_to_der(signature) for signature in made]
    verdicts = [theirs.verify(public, message, der, identity) for message, der in zip(messages, ders, strict=True)]
    assert verdicts == expected
    received = [crypto.signature_from_der(theirs.sign(private, message, identity)) for message in messages]
    assert all(key.public_key().verify_many(list(messages), received, identity))


def _compare_ciphertexts(
    theirs: OpenSsl,
    key: crypto.SigningKey,
    public: ctypes.c_void_p,
    private: ctypes.c_void_p,
    messages: Sequence[bytes],
    chance: random.Random,
) -> None:
    for i, message in enumerate(messages):
        received = crypto.ciphertext_from_der(theirs.encrypt(public, message))
        assert key.decrypt(received) == message
        sealed = key.public_key().encrypt(message)
        if i % 3 == 2:
            sealed = sealed[:97] + _damaged(sealed[97:], chance)
            try:
                key.decrypt(sealed)
            except crypto.DecryptionFailed:
                pass
            else:
                raise AssertionError("a damaged ciphertext was opened")
        opened = theirs.decrypt(private, crypto.ciphertext_to_der(sealed))
        assert opened == (None if i % 3 == 2 else message)


def _damaged(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _can_force(tier: str) -> bool:
    try:
        crypto.force_tier(tier)
    except ValueError:
        return False
    return True

"""SM2 and SM4 as the bank computes them: gmalglib and OpenSSL, nothing of yinqi's own engine."""

from __future__ import annotations

import gmalglib
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import SM4
from cryptography.hazmat.primitives.ciphers.modes import CBC
from gmalglib.sm2 import SM2

_BLOCK = 16


def generate_key_pair() -> tuple[bytes, bytes]:
    """A new private key (32 bytes) and its public point (65 bytes, 04 first)."""
    private_key, public_key = gmalglib.sm2_generate_keypair()
    return bytes(private_key), bytes(public_key)


def public_key_of(private_key: bytes) -> bytes:
    """The 65-byte public point of a private key."""
    return bytes(gmalglib.sm2_get_pk(private_key))


def is_public_key(public_key: bytes) -> bool:
    """Whether the bytes are an uncompressed point on the curve."""
    return len(public_key) == 65 and bool(gmalglib.sm2_is_pk_valid(public_key))


def sign(private_key: bytes, message: bytes, signer_id: bytes) -> bytes:
    """SM2-with-SM3 signature, raw r and s, 64 bytes."""
    return bytes(SM2(sk=private_key, uid=signer_id).sign(message))


def verifies(public_key: bytes, message: bytes, signature: bytes, signer_id: bytes) -> bool:
    """Whether the raw 64-byte signature is the key owner's over the message."""
    return len(signature) == 64 and bool(SM2(pk=public_key, uid=signer_id).verify(message, signature))


def encrypt(key: bytes, iv: bytes, plaintext: bytes) -> bytes:
    """SM4-CBC with PKCS#7 padding."""
    pad = _BLOCK - len(plaintext) % _BLOCK
    encryptor = Cipher(SM4(key), CBC(iv)).encryptor()
    return encryptor.update(plaintext + bytes([pad]) * pad) + encryptor.finalize()


def decrypt(key: bytes, iv: bytes, ciphertext: bytes) -> bytes:
    """Undo `encrypt`, checking every padding byte; ValueError when it does not fit."""
    if not ciphertext or len(ciphertext) % _BLOCK:
        raise ValueError("ciphertext is not whole blocks")
    decryptor = Cipher(SM4(key), CBC(iv)).decryptor()
    padded = decryptor.update(ciphertext) + decryptor.finalize()
    pad = padded[-1]
    if not 1 <= pad <= _BLOCK or padded[-pad:] != bytes([pad]) * pad:
        raise ValueError("padding is wrong")
    return padded[:-pad]

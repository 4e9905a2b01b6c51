"""SM2 and SM4 as the bank computes them: GmSSL and OpenSSL, nothing of yinqi's own engine."""

from __future__ import annotations

import gmssl_pyx
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import SM4
from cryptography.hazmat.primitives.ciphers.modes import CBC

_BLOCK = 16
_INTEGER = 32
# GB/T 32918.5: y² = x³ − 3x + b over the field of p elements.
_P = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF00000000FFFFFFFFFFFFFFFF
_B = 0x28E9FA9E9D9F5E344D5A9E4BCF6509A7F39789F515AB8F92DDBCBD414D940E93


def generate_key_pair() -> tuple[bytes, bytes]:
    """A new private key (32 bytes) and its public point (65 bytes, 04 first)."""
    public_key, private_key = gmssl_pyx.sm2_key_generate()
    return bytes(private_key), b"\x04" + bytes(public_key)[-2 * _INTEGER :]


def is_public_key(public_key: bytes) -> bool:
    """Whether the bytes are an uncompressed point on the curve."""
    if len(public_key) != 1 + 2 * _INTEGER or public_key[0] != 4:
        return False
    x = int.from_bytes(public_key[1 : 1 + _INTEGER], "big")
    y = int.from_bytes(public_key[1 + _INTEGER :], "big")
    return x < _P and y < _P and (y * y - (x * x * x - 3 * x + _B)) % _P == 0


def sign(private_key: bytes, public_key: bytes, message: bytes, signer_id: bytes) -> bytes:
    """SM2-with-SM3 signature, raw r and s, 64 bytes. The public point is part of what SM2 digests (Z_A)."""
    r, s = decode_dss_signature(gmssl_pyx.sm2_sign(private_key, public_key[1:], message, signer_id))
    return r.to_bytes(_INTEGER, "big") + s.to_bytes(_INTEGER, "big")


def verifies(public_key: bytes, message: bytes, signature: bytes, signer_id: bytes) -> bool:
    """Whether the raw 64-byte signature is the key owner's over the message."""
    if len(signature) != 2 * _INTEGER:
        return False
    r, s = (int.from_bytes(half, "big") for half in (signature[:_INTEGER], signature[_INTEGER:]))
    try:
        return bool(gmssl_pyx.sm2_verify(public_key[1:], message, encode_dss_signature(r, s), signer_id))
    except (gmssl_pyx.GmsslInnerError, gmssl_pyx.InvalidValueError):
        return False  # r or s out of range.


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

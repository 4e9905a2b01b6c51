"""Public keys as bundles give them, and what they are called."""

from __future__ import annotations

from typing import NamedTuple

from yinqi.crypto import CryptoError, GeneralVerifyKey, InvalidSignature, VerifyKey, sm3

_KEY_ID_BYTES = 8
_SIGNATURE_BYTES = 64
_ED25519_BYTES = 32


class PublicKey(NamedTuple):
    """A key that checks signatures, made by one of the functions below."""

    key: VerifyKey | GeneralVerifyKey
    der: bytes

    @property
    def key_id(self) -> str:
        """What seals and parts call it: the first 8 bytes of SM3 over its SubjectPublicKeyInfo, in hexadecimal."""
        return sm3(self.der)[:_KEY_ID_BYTES].hex()

    def signed(self, message: bytes, signature: bytes, identity: bytes | None = None) -> bool:
        """Return whether it signed the message. `identity`: of SM2; None is the default one."""
        if len(signature) != _SIGNATURE_BYTES:
            return False
        try:
            if isinstance(self.key, VerifyKey):
                self.key.verify(message, signature, identity)
            else:
                self.key.verify(message, signature)
        except InvalidSignature:
            return False
        return True


def from_der(der: bytes) -> PublicKey:
    """Read a SubjectPublicKeyInfo of SM2 or Ed25519. Raises ValueError."""
    key: VerifyKey | GeneralVerifyKey
    try:
        key = VerifyKey.from_spki(der)
        canonical = key.to_der()
    except CryptoError:
        try:
            key = GeneralVerifyKey.from_bytes("ed25519", der)
            canonical = key.to_der()
        except CryptoError:
            raise ValueError("not a public key of SM2 or Ed25519") from None
    if canonical != der:
        raise ValueError("not the one form of a public key")
    return PublicKey(key, der)


def from_raw(raw: bytes) -> PublicKey:
    """Read 65 bytes 04‖x‖y (SM2) or 32 bytes (Ed25519). Raises ValueError."""
    try:
        if len(raw) == _ED25519_BYTES:
            general = GeneralVerifyKey.from_bytes("ed25519", raw)
            return PublicKey(general, general.to_der())
        key = VerifyKey.from_bytes(raw)
        return PublicKey(key, key.to_der())
    except CryptoError:
        raise ValueError("not a public key of SM2 or Ed25519") from None

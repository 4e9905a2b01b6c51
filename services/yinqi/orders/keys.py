"""The keys of people and systems: SM2 with SM3, or Ed25519. The algorithm belongs to the key, never to the message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from yinqi.crypto import CryptoError, GeneralSigningKey, GeneralVerifyKey, SigningKey, VerifyKey
from yinqi.kernel.errors import FailedPrecondition
from yinqi.runtime.durable_files import write_durably

SIGNATURE_BYTES = 64
ORDER_CONTEXT = b"yinqi/payment-order/v1\x00"
DECISION_CONTEXT = b"yinqi/order-decision/v1\x00"
POLICY_CONTEXT = b"yinqi/policy/v1\x00"
KEY_CHANGE_CONTEXT = b"yinqi/key-change/v1\x00"
_ED25519 = "ed25519"
_OTHERS_MAY = 0o077


class Algorithm(StrEnum):
    """How a key signs."""

    SM2 = "SM2"
    ED25519 = "ED25519"


class KeyFileInvalid(FailedPrecondition):
    """A key file is missing, damaged, not for this password, or open to others."""


class Signed(NamedTuple):
    """Bytes, the key that signed them by its name, and the signature."""

    content: bytes
    key_id: str
    signature: bytes


class PublicKey(NamedTuple):
    """What checks signatures. `raw`: 65 bytes 04‖x‖y (SM2) or 32 bytes (Ed25519)."""

    algorithm: Algorithm
    raw: bytes

    def verify_many(self, messages: Sequence[bytes], signatures: Sequence[bytes]) -> list[bool]:
        """Return a verdict per pair, in order; False for whatever is malformed.

        Raises:
            CryptoError: the key is none.
        """
        if self.algorithm is Algorithm.SM2:
            return VerifyKey.from_bytes(self.raw).verify_many(list(messages), list(signatures))
        return GeneralVerifyKey.from_bytes(_ED25519, self.raw).verify_many(list(messages), list(signatures))


class PrivateKey:
    """What signs in the name of `key_id`."""

    def __init__(self, key_id: str, key: SigningKey | GeneralSigningKey) -> None:
        self.key_id = key_id
        self._key = key

    @staticmethod
    def generate(key_id: str, algorithm: Algorithm = Algorithm.SM2) -> PrivateKey:
        """Make a new key."""
        is_sm2 = algorithm is Algorithm.SM2
        return PrivateKey(key_id, SigningKey.generate() if is_sm2 else GeneralSigningKey.generate(_ED25519))

    @property
    def algorithm(self) -> Algorithm:
        """How it signs."""
        return Algorithm.SM2 if isinstance(self._key, SigningKey) else Algorithm.ED25519

    def public_key(self) -> PublicKey:
        """Return what checks its signatures."""
        if isinstance(self._key, SigningKey):
            return PublicKey(Algorithm.SM2, self._key.public_key().to_bytes())
        return PublicKey(Algorithm.ED25519, self._key.public_key().to_der()[-32:])  # RFC 8410: the key ends the DER

    def sign(self, context: bytes, content: bytes) -> Signed:
        """Sign content under a context, so that a signature given for one purpose is none for another."""
        return Signed(content, self.key_id, self._key.sign(context + content))

    def save(self, file: Path, password: str = "") -> None:
        """Write a new file that only its owner may read: PKCS#8, DER, or for SM2 with a password encrypted PEM.

        Raises:
            KeyFileInvalid: it is there already, cannot be written, or Ed25519 with a password.
        """
        if password and not isinstance(self._key, SigningKey):
            raise _invalid(file, "a password can protect SM2 keys only", "仅 SM2 密钥可用口令保护")
        content = (
            self._key.to_encrypted_pem(password.encode())
            if password and isinstance(self._key, SigningKey)
            else self._key.to_pkcs8()
        )
        try:
            write_durably(file, content, 0o600, replaces=False)
        except OSError as error:
            raise _invalid(file, error.strerror or "cannot be written", "无法写入") from None

    @staticmethod
    def load(file: Path, key_id: str, password: str = "") -> PrivateKey:
        """Read a key file of either algorithm.

        Raises:
            KeyFileInvalid: see there.
        """
        try:
            if file.stat().st_mode & _OTHERS_MAY:
                raise _invalid(
                    file, "others than its owner may read it; chmod 600 it", "其他用户可读，请执行 chmod 600"
                )
            content = file.read_bytes()
        except OSError as error:
            raise _invalid(file, error.strerror or "cannot be read", "无法读取") from None
        try:
            return PrivateKey(key_id, SigningKey.from_pkcs8(content, password.encode() if password else None))
        except CryptoError:
            pass
        try:
            return PrivateKey(key_id, GeneralSigningKey.from_pkcs8(_ED25519, content))
        except CryptoError:
            raise _invalid(
                file, "no SM2 or Ed25519 key, or the password is wrong", "不是有效密钥，或口令错误"
            ) from None


def verify_all(context: bytes, signed: Sequence[Signed], keys: Mapping[str, PublicKey]) -> list[bool]:
    """Return whether each signature holds, in order; one batch per key. An unknown key is False."""
    verdicts = [False] * len(signed)
    by_key: dict[str, list[int]] = {}
    for index, one in enumerate(signed):
        if one.key_id in keys and len(one.signature) == SIGNATURE_BYTES:
            by_key.setdefault(one.key_id, []).append(index)
    for key_id, indexes in by_key.items():
        messages = [context + signed[index].content for index in indexes]
        found = keys[key_id].verify_many(messages, [signed[index].signature for index in indexes])
        for index, holds in zip(indexes, found, strict=True):
            verdicts[index] = holds
    return verdicts


def _invalid(file: Path, words: str, words_zh: str) -> KeyFileInvalid:
    return KeyFileInvalid("KEY_FILE_INVALID", f"{file}: {words}.", f"{file}：{words_zh}。")

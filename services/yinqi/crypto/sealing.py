"""Sign-then-seal, the form in which bank dialects send a message: the signature inside the text, the text encrypted."""

from __future__ import annotations

import base64
from typing import NamedTuple, Protocol

from yinqi.crypto._core import sm4_cbc_encrypt  # noqa: TID251 — inside yinqi/crypto


class Signs(Protocol):
    """What signs with SM2: a `SigningKey` in memory, or a `Signer` of any back end."""

    def sign(self, message: bytes, identity: bytes | None = None, /) -> bytes:
        """Return the raw signature r‖s, 64 bytes."""


class SealedMessage(NamedTuple):
    """A message as it is archived, and as it is sent."""

    signed: bytes
    """The message with its signature in Base64."""
    sealed: bytes
    """That, under SM4-CBC with PKCS#7 padding, in Base64."""


def sign_then_seal(
    message: bytes, placeholder: bytes, *, signer: Signs, identity: bytes, sm4_key: bytes, iv: bytes
) -> SealedMessage:
    """Sign a message that holds a placeholder, put the signature in its place, and encrypt the whole.

    Args:
        message: what is signed, placeholder included.
        placeholder: the bytes that the signature takes the place of; the last occurrence counts.
        identity: the signer's SM2 identity, 0 to 8191 bytes.
        sm4_key, iv: 16 bytes each. The IV is the dialect's: where a bank demands a static one, nothing else may use the key.
    Raises:
        ValueError: the placeholder is not in the message. (Caller's bug; do not retry.)
        InvalidLength: identity, key or IV of the wrong length.
        DeviceError: the signing device failed; nothing was made.
    """
    head, found, tail = message.rpartition(placeholder)
    if not found:
        raise ValueError("the message holds no placeholder for its signature")
    signed = head + base64.b64encode(signer.sign(message, identity)) + tail
    return SealedMessage(signed, base64.b64encode(sm4_cbc_encrypt(sm4_key, iv, signed)))

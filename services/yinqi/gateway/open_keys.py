"""The keys of a profile as they are open at one moment. Never changed: a message ends with the keys it was begun with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from yinqi.crypto import InvalidSignature, Signs, VerifyKey


class RetiredKeyUsed(Exception):
    """The signature is that of a bank's key whose time is over: refused, and somebody should know."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"signed with the retired key {key_id}")
        self.key_id = key_id


class OurKey(Signs, Protocol):
    """A private key of ours, in memory or in a device."""

    def public_key(self) -> VerifyKey:
        """Return the public half."""
        ...


class SigningUse(NamedTuple):
    """Our key that signs."""

    key_id: str
    key: OurKey


class CipherUse(NamedTuple):
    """A symmetric key shared with the bank."""

    key_id: str
    key: bytes

    def __repr__(self) -> str:
        return f"CipherUse({self.key_id})"


class BankUse(NamedTuple):
    """A key of the bank."""

    key_id: str
    key: VerifyKey


@dataclass(frozen=True, slots=True)
class OpenKeys:
    """What signs, seals, opens and verifies now.

    Attributes:
        signing: the active one.
        ciphers, bank: the active one first, then those whose overlap still runs.
        retired: keys of the bank that are refused; known only to say so.
    """

    signing: SigningUse
    ciphers: tuple[CipherUse, ...] = field(repr=False)
    bank: tuple[BankUse, ...]
    retired: tuple[BankUse, ...] = ()

    def ciphers_for(self, begun_with: CipherUse | None) -> list[CipherUse]:
        """Return what may open a message: first the key that the exchange was begun with."""
        first = [] if begun_with is None else [begun_with]
        return [*first, *(one for one in self.ciphers if one not in first)]

    def verify(self, signed: bytes, signature: bytes, identity: bytes) -> str:
        """Return the id of the bank's key that made the signature.

        Raises:
            InvalidSignature: none of those in use did. RetiredKeyUsed: one did that is refused now.
        """
        for key_id, key in self.bank:
            if _fits(key, signed, signature, identity):
                return key_id
        for key_id, key in self.retired:
            if _fits(key, signed, signature, identity):
                raise RetiredKeyUsed(key_id)
        raise InvalidSignature("no key of the bank made this signature")


def _fits(key: VerifyKey, signed: bytes, signature: bytes, identity: bytes) -> bool:
    try:
        key.verify(signed, signature, identity)
    except InvalidSignature:
        return False
    return True

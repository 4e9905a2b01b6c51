"""The keys of one bank profile and their lives: staged, active, retiring, retired. Events in, states out.

The journal is the state: a key is what the events say, and an event that breaks a rule counts for nothing. So nobody
activates a key by editing a file or a row: it takes the journalled words of two people.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from yinqi.kernel.errors import AlreadyExists, FailedPrecondition, InvalidRequest, NotFound, PermissionDenied

OVERLAP_MAX = timedelta(days=90)
ASK_LIFETIME = timedelta(days=7)
GATEWAY = "gateway"  # the actor of what happens by itself: the first start, the end of an overlap


class KeyPurpose(enum.StrEnum):
    """What a key is for."""

    SIGNING = "SIGNING"  # ours, private: signs what we send
    CIPHER = "CIPHER"  # symmetric, shared with the bank
    BANK = "BANK"  # the bank's, public: verifies what it sends


class KeyState(enum.StrEnum):
    """Where a key is in its life."""

    STAGED = "STAGED"  # known, not in use
    ACTIVE = "ACTIVE"  # signs or encrypts; for a bank's key: verifies
    RETIRING = "RETIRING"  # the one before, until the overlap ends: still verifies and decrypts, signs no more
    RETIRED = "RETIRED"  # refused


class KeyEventKind(enum.StrEnum):
    """What happened to a key."""

    ADOPTED = "ADOPTED"  # the first of its purpose, taken as it was found or made at the first start
    STAGED = "STAGED"
    ACTIVATION_ASKED = "ACTIVATION_ASKED"
    ACTIVATED = "ACTIVATED"
    RETIRED = "RETIRED"


class KeyOrigin(enum.StrEnum):
    """Where a key came from."""

    CREATED = "CREATED"
    IMPORTED = "IMPORTED"
    DEVICE = "DEVICE"
    EXCHANGE = "EXCHANGE"  # left by the bank in the exchange folder


@dataclass(frozen=True, slots=True)
class KeyEvent:
    """An entry of the keys' journal.

    Attributes:
        actor: person or program, as the caller was known.
        origin, public_key, file, valid_from, valid_until: of ADOPTED and STAGED.
        public_key: 04‖x‖y, hexadecimal; empty for a CIPHER key. file: in the key folder, or "device:<index>".
        overlap: of ACTIVATION_ASKED and ACTIVATED: how long the key before goes on verifying.
        signer, signature: where a policy is in force, of ACTIVATION_ASKED and ACTIVATED: the person's key by its name, and
            the signature over `statement`.
    """

    profile: str
    key_id: str
    purpose: KeyPurpose
    kind: KeyEventKind
    actor: str
    at: datetime
    origin: str = ""
    public_key: str = ""
    file: str = ""
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    overlap: timedelta = timedelta()
    signer: str = ""
    signature: bytes = b""


@dataclass(frozen=True, slots=True)
class BankKey:
    """One key as its events left it; who did what, and when.

    Attributes:
        overlap: what was asked for with the activation.
        retires_at: set when another took its place: when it stops verifying.
    """

    profile: str
    key_id: str
    purpose: KeyPurpose
    origin: str
    public_key: str
    file: str
    staged_by: str
    staged_at: datetime
    valid_from: datetime
    valid_until: datetime | None = None
    asked_by: str = ""
    asked_at: datetime | None = None
    overlap: timedelta = timedelta()
    activated_by: str = ""
    activated_at: datetime | None = None
    retires_at: datetime | None = None
    retired_by: str = ""
    retired_at: datetime | None = None

    def state_at(self, now: datetime) -> KeyState:
        """Return its state; an overlap ends by itself."""
        if self.retired_at is not None or (self.retires_at is not None and self.retires_at <= now):
            return KeyState.RETIRED
        if self.retires_at is not None:
            return KeyState.RETIRING
        return KeyState.STAGED if self.activated_at is None else KeyState.ACTIVE

    def is_valid_at(self, now: datetime) -> bool:
        """Return whether it is within its own days."""
        return self.valid_from <= now and (self.valid_until is None or now < self.valid_until)


class KeySet:
    """The keys of a profile, in the order they came."""

    def __init__(self, keys: Iterable[BankKey] = ()) -> None:
        self._keys = {key.key_id: key for key in keys}

    def __iter__(self) -> Iterator[BankKey]:
        return iter(self._keys.values())

    def find(self, key_id: str) -> BankKey | None:
        """Return the key, or None."""
        return self._keys.get(key_id)

    def in_state(self, purpose: KeyPurpose, state: KeyState, now: datetime) -> list[BankKey]:
        """Return the keys of a purpose that are in a state; the newest first."""
        found = [key for key in self if key.purpose is purpose and key.state_at(now) is state]
        return sorted(found, key=lambda key: key.activated_at or key.staged_at, reverse=True)

    def active(self, purpose: KeyPurpose, now: datetime) -> BankKey | None:
        """Return the key in use, None before the first."""
        return next(iter(self.in_state(purpose, KeyState.ACTIVE, now)), None)

    def has(self, purpose: KeyPurpose) -> bool:
        """Return whether there ever was a key of the purpose."""
        return any(key.purpose is purpose for key in self)

    def require(self, key_id: str) -> BankKey:
        """Return the key.

        Raises:
            NotFound: KEY_UNKNOWN.
        """
        key = self._keys.get(key_id)
        if key is None:
            raise NotFound(
                "KEY_UNKNOWN",
                f"There is no key {key_id!r} in this profile; `yinqi keys list` shows those there are.",
                "该银行配置中没有此密钥，请用 `yinqi keys list` 查看。",
            )
        return key


def key_set_of(events: Iterable[KeyEvent]) -> KeySet:
    """Return the keys that events leave. What a rule forbids changes nothing, however it came into the journal."""
    keys: dict[str, BankKey] = {}
    for event in events:
        key = keys.get(event.key_id)
        if event.kind in (KeyEventKind.ADOPTED, KeyEventKind.STAGED):
            if key is None:
                keys[event.key_id] = _born(event, list(keys.values()))
        elif key is not None and key.purpose is event.purpose:
            _apply(event, key, keys)
    return KeySet(keys.values())


def _born(event: KeyEvent, others: Sequence[BankKey]) -> BankKey:
    key = BankKey(
        profile=event.profile,
        key_id=event.key_id,
        purpose=event.purpose,
        origin=event.origin,
        public_key=event.public_key,
        file=event.file,
        staged_by=event.actor,
        staged_at=event.at,
        valid_from=event.valid_from or event.at,
        valid_until=event.valid_until,
    )
    is_first = event.kind is KeyEventKind.ADOPTED and not any(other.purpose is event.purpose for other in others)
    return replace(key, activated_by=event.actor, activated_at=event.at) if is_first else key


def _apply(event: KeyEvent, key: BankKey, keys: dict[str, BankKey]) -> None:
    state = key.state_at(event.at)
    if event.kind is KeyEventKind.ACTIVATION_ASKED and state is KeyState.STAGED:
        keys[key.key_id] = replace(key, asked_by=event.actor, asked_at=event.at, overlap=event.overlap)
    elif event.kind is KeyEventKind.ACTIVATED and state is KeyState.STAGED and _may_confirm(key, event.actor, event.at):
        for other in list(keys.values()):
            if other.purpose is key.purpose and other.state_at(event.at) is KeyState.ACTIVE:
                keys[other.key_id] = replace(other, retires_at=event.at + key.overlap)
        keys[key.key_id] = replace(key, activated_by=event.actor, activated_at=event.at)
    elif event.kind is KeyEventKind.RETIRED and key.retired_at is None and state is not KeyState.ACTIVE:
        keys[key.key_id] = replace(key, retired_by=event.actor, retired_at=event.at)


def _may_confirm(key: BankKey, actor: str, at: datetime) -> bool:
    return (
        bool(key.asked_by) and key.asked_by != actor and key.asked_at is not None and at - key.asked_at < ASK_LIFETIME
    )


def statement(
    profile: str, purpose: KeyPurpose, key_id: str, public_key: str, kind: KeyEventKind, overlap: timedelta
) -> bytes:
    """Return what a person signs who asks for an activation or confirms one.

    Args:
        public_key: 04‖x‖y, hexadecimal; empty for a CIPHER key. kind: ACTIVATION_ASKED or ACTIVATED.
    """
    seconds = overlap // timedelta(seconds=1)
    lines = (kind, profile, purpose, key_id, public_key or "-", f"overlap_seconds={seconds}")
    return "\n".join(lines).encode("utf-8")


def check_new(keys: KeySet, event: KeyEvent) -> None:
    """Return if a key may be staged.

    Raises:
        AlreadyExists: KEY_KNOWN; a key is staged once, a retired one never comes back.
        InvalidRequest: its days are none.
    """
    if (known := keys.find(event.key_id)) is not None:
        raise AlreadyExists(
            "KEY_KNOWN",
            f"Key {event.key_id} is there already ({known.state_at(event.at)}); a retired key never comes back.",
            f"密钥 {event.key_id} 已登记，停用的密钥不可再次使用。",
        )
    if event.valid_until is not None and event.valid_until <= max(event.at, event.valid_from or event.at):
        raise InvalidRequest(
            "KEY_VALIDITY", "valid_until must be after valid_from and now.", "有效期止须晚于有效期起。"
        )


def asked(keys: KeySet, key_id: str, overlap: timedelta, actor: str, now: datetime) -> KeyEvent:
    """Return the event with which somebody asks for a key's activation; asking again replaces what was asked before.

    Raises:
        NotFound: KEY_UNKNOWN. FailedPrecondition: KEY_NOT_STAGED, KEY_NOT_VALID. InvalidRequest: KEY_OVERLAP.
    """
    key = _staged(keys.require(key_id), now)
    if not timedelta() <= overlap <= OVERLAP_MAX:
        raise InvalidRequest(
            "KEY_OVERLAP", f"overlap: 0 to {OVERLAP_MAX.days} days.", f"重叠期须为 0 至 {OVERLAP_MAX.days} 天。"
        )
    return KeyEvent(key.profile, key_id, key.purpose, KeyEventKind.ACTIVATION_ASKED, actor, now, overlap=overlap)


def confirmed(keys: KeySet, key_id: str, actor: str, now: datetime) -> KeyEvent:
    """Return the event with which a second person activates a key.

    Raises:
        NotFound: KEY_UNKNOWN. PermissionDenied: SAME_PERSON.
        FailedPrecondition: KEY_NOT_STAGED, KEY_NOT_VALID, ACTIVATION_NOT_ASKED (nobody did, or too long ago).
    """
    key = _staged(keys.require(key_id), now)
    if key.asked_by == actor:
        raise PermissionDenied(
            "SAME_PERSON",
            f"{actor} asked for the activation of key {key_id}; somebody else must confirm it.",
            "启用申请人不得自行确认，须由另一人确认。",
        )
    if not _may_confirm(key, actor, now):
        raise FailedPrecondition(
            "ACTIVATION_NOT_ASKED",
            f"Nobody asked for the activation of key {key_id} in the last {ASK_LIFETIME.days} days. One person asks "
            "with `yinqi keys rotate`, another confirms.",
            "尚无有效的启用申请，须先由一人申请、再由另一人确认。",
        )
    return KeyEvent(key.profile, key_id, key.purpose, KeyEventKind.ACTIVATED, actor, now, overlap=key.overlap)


def retired(keys: KeySet, key_id: str, actor: str, now: datetime) -> KeyEvent:
    """Return the event that ends a key at once: one that was only staged, or one before the end of its overlap.

    Raises:
        NotFound: KEY_UNKNOWN. FailedPrecondition: KEY_ACTIVE, KEY_RETIRED.
    """
    key = keys.require(key_id)
    state = key.state_at(now)
    if state is KeyState.ACTIVE:
        raise FailedPrecondition(
            "KEY_ACTIVE",
            f"Key {key_id} is in use. Activate another one first (with an overlap of 0, if this one is stolen).",
            "密钥正在使用，请先启用新密钥（如已泄露，重叠期设为 0）。",
        )
    if key.retired_at is not None:
        raise FailedPrecondition("KEY_RETIRED", f"Key {key_id} is retired already.", "密钥已停用。")
    return KeyEvent(key.profile, key_id, key.purpose, KeyEventKind.RETIRED, actor, now)


def overdue(keys: KeySet, now: datetime) -> list[KeyEvent]:
    """Return the events that are still to be written of overlaps that have ended."""
    return [
        KeyEvent(key.profile, key.key_id, key.purpose, KeyEventKind.RETIRED, GATEWAY, now)
        for key in keys
        if key.retired_at is None and key.state_at(now) is KeyState.RETIRED
    ]


def _staged(key: BankKey, now: datetime) -> BankKey:
    if key.state_at(now) is not KeyState.STAGED:
        raise FailedPrecondition(
            "KEY_NOT_STAGED",
            f"Key {key.key_id} is {key.state_at(now)}; only a staged one can be activated.",
            "只有待启用的密钥可以启用。",
        )
    if not key.is_valid_at(now):
        until = "" if key.valid_until is None else f" to {key.valid_until:%Y-%m-%d %H:%M} UTC"
        raise FailedPrecondition(
            "KEY_NOT_VALID",
            f"Key {key.key_id} is valid from {key.valid_from:%Y-%m-%d %H:%M}{until} only.",
            "密钥不在有效期内。",
        )
    return key

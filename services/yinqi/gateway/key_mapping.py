"""protobuf ↔ the keys of a profile. No decisions; no private key has a field here."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from yinqi.api.gateway.v1 import key_pb2
from yinqi.crypto import VerifyKey
from yinqi.gateway.key_officers import Word
from yinqi.gateway.key_ring import NewKey
from yinqi.gateway.key_set import BankKey, KeyPurpose, KeyState
from yinqi.gateway.mapping import invalid_field, timestamp_to

_PURPOSES = {
    key_pb2.KEY_PURPOSE_SIGNING: KeyPurpose.SIGNING,
    key_pb2.KEY_PURPOSE_CIPHER: KeyPurpose.CIPHER,
    key_pb2.KEY_PURPOSE_BANK: KeyPurpose.BANK,
}
_PURPOSES_TO = {purpose: number for number, purpose in _PURPOSES.items()}
_STATES = {
    KeyState.STAGED: key_pb2.KEY_STATE_STAGED,
    KeyState.ACTIVE: key_pb2.KEY_STATE_ACTIVE,
    KeyState.RETIRING: key_pb2.KEY_STATE_RETIRING,
    KeyState.RETIRED: key_pb2.KEY_STATE_RETIRED,
}


def new_key_from(message: key_pb2.StageKeyRequest) -> NewKey:
    """Read what is to be staged."""
    purpose = _PURPOSES.get(message.purpose)
    if purpose is None:
        raise invalid_field("purpose", "REQUIRED", "SIGNING, CIPHER or BANK", "须为签名、对称或银行密钥")
    return NewKey(
        purpose,
        create=message.create,
        file=message.file,
        device_index=message.device_index,
        public_key=message.public_key,
        valid_from=_instant(message.valid_from) if message.HasField("valid_from") else None,
        valid_until=_instant(message.valid_until) if message.HasField("valid_until") else None,
    )


def word_from(message: key_pb2.AskKeyActivationRequest | key_pb2.ConfirmKeyActivationRequest, caller: str) -> Word:
    """Read who says so."""
    return Word(caller, message.signer, message.signature)


def key_to(key: BankKey, state: KeyState) -> key_pb2.BankKey:
    """Write a key."""
    return key_pb2.BankKey(
        bank_profile=key.profile,
        key_id=key.key_id,
        purpose=_PURPOSES_TO[key.purpose],
        state=_STATES[state],
        origin=key.origin,
        public_key=VerifyKey.from_bytes(bytes.fromhex(key.public_key)).to_der() if key.public_key else b"",
        file=key.file,
        valid_from=_stamp(key.valid_from),
        valid_until=_stamp(key.valid_until),
        staged_by=key.staged_by,
        staged_at=_stamp(key.staged_at),
        asked_by=key.asked_by,
        overlap_seconds=key.overlap // timedelta(seconds=1),
        activated_by=key.activated_by,
        activated_at=_stamp(key.activated_at),
        retires_at=_stamp(key.retires_at),
        retired_by=key.retired_by,
        retired_at=_stamp(key.retired_at),
    )


def _stamp(instant: datetime | None) -> Timestamp | None:
    return None if instant is None else timestamp_to(instant)


def _instant(stamp: Timestamp) -> datetime:
    return stamp.ToDatetime(UTC)

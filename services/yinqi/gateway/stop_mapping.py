"""protobuf ↔ stops. No decisions."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from yinqi.api.gateway.v1 import stop_pb2
from yinqi.gateway.stops import Scope, ScopeKind, Stop, Word
from yinqi.kernel.errors import FieldViolation, InvalidRequest

_NAME_CHARACTERS_MAX = 140
_KINDS = {
    stop_pb2.STOP_SCOPE_KIND_HOUSE: ScopeKind.HOUSE,
    stop_pb2.STOP_SCOPE_KIND_BANK: ScopeKind.BANK,
    stop_pb2.STOP_SCOPE_KIND_COMPANY: ScopeKind.COMPANY,
    stop_pb2.STOP_SCOPE_KIND_ACCOUNT: ScopeKind.ACCOUNT,
}
_NUMBERS = {kind: number for number, kind in _KINDS.items()}


def scope_from(message: stop_pb2.StopScope) -> Scope:
    """Read a scope. Raises `InvalidRequest`."""
    kind = _KINDS.get(message.kind)
    if kind is None:
        raise _invalid(
            "scope.kind", "SCOPE_MISSING", "say what to stop: HOUSE, BANK, COMPANY or ACCOUNT", "请指明止付范围"
        )
    if kind is ScopeKind.HOUSE and message.name:
        raise _invalid(
            "scope.name", "SCOPE_NAME_NOT_EMPTY", "the house has no name; leave it empty", "全部止付时名称须为空"
        )
    if kind is not ScopeKind.HOUSE and not 1 <= len(message.name) <= _NAME_CHARACTERS_MAX:
        limit = f"1 to {_NAME_CHARACTERS_MAX} characters"
        raise _invalid("scope.name", "SCOPE_NAME_INVALID", limit, f"须为 1 至 {_NAME_CHARACTERS_MAX} 字")
    return Scope(kind, message.name)


def stop_to(stop: Stop) -> stop_pb2.Stop:
    """Write a stop."""
    return stop_pb2.Stop(
        stop_id=stop.stop_id,
        scope=stop_pb2.StopScope(kind=_NUMBERS[stop.scope.kind], name=stop.scope.name),
        pulled=_word_to(stop.pulled),
        lift_asked=_word_to(stop.lift_asked),
        lifted=_word_to(stop.lifted),
    )


def _word_to(word: Word | None) -> stop_pb2.StopWord | None:
    if word is None:
        return None
    said_at = Timestamp()
    said_at.FromDatetime(word.at)
    return stop_pb2.StopWord(person=word.person, said_at=said_at, reason=word.reason)


def _invalid(field: str, reason: str, description: str, description_zh: str) -> InvalidRequest:
    violation = FieldViolation(field, reason, description, description_zh)
    return InvalidRequest(reason, f"{field}: {description}. Nothing was stopped.", description_zh, [violation])

"""What callers may see: account numbers and payroll are masked in answers to those whose roles do not entitle to them.

The protos say of each field what it is (`yinqi.api.common.v1.personal`), `CLEAR_FOR` says who sees that in clear, and the
server's interceptor masks every answer by the two: no servicer decides. For who sees all that an answer can hold there is no plan,
and the answer goes out untouched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, reduce
from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from yinqi.api.common.v1 import personal_pb2
from yinqi.runtime.identity import Principal, is_service_role
from yinqi.runtime.logging import mask_text

NONE = personal_pb2.PERSONAL_NONE
OWN_ACCOUNT = personal_pb2.PERSONAL_OWN_ACCOUNT
ACCOUNT = personal_pb2.PERSONAL_ACCOUNT
NAME = personal_pb2.PERSONAL_NAME
COUNTERPARTY = personal_pb2.PERSONAL_COUNTERPARTY
PAYROLL = personal_pb2.PERSONAL_PAYROLL
TEXT = personal_pb2.PERSONAL_TEXT
SIGNED = personal_pb2.PERSONAL_SIGNED

Sight = frozenset[int]  # kinds that a caller sees in clear
PERSONAL_VIEWER = "personal_viewer"  # sees everything in clear; for auditors' and personnel's programs, and the console
_FLAG = "is_masked"
_HIDDEN = "***"
_EVERYTHING: Sight = frozenset({OWN_ACCOUNT, ACCOUNT, NAME, COUNTERPARTY, PAYROLL, TEXT, SIGNED})
_NUMBERS: Sight = frozenset({OWN_ACCOUNT, ACCOUNT, NAME, TEXT})  # all but payroll and what may be payroll
# Who sees what in clear. Roles that are not here see a payment's creditor by name, unless it is payroll, and no number.
CLEAR_FOR: Mapping[str, Sight] = {
    PERSONAL_VIEWER: _EVERYTHING,
    "auditor": _EVERYTHING,
    "payment_approver": _EVERYTHING,  # approves what is sent, so sees what is sent
    "payment_initiator": _NUMBERS,  # handed payments in; who pays wages is a personal_viewer as well
    "payment_resolver": _NUMBERS,  # asks the bank about one payment
    "account_operator": _NUMBERS | {COUNTERPARTY},  # brings statements in, where all of it stands
    "reconciler": _NUMBERS | {COUNTERPARTY},
    "account_viewer": frozenset({OWN_ACCOUNT}),  # asks by these numbers
}


def sight_of(principal: Principal) -> Sight:
    """Return what the caller sees in clear: sister services everything, others what their roles add up to."""
    return _EVERYTHING if principal.all_roles else _sight_of(principal.roles)


@lru_cache(maxsize=1024)  # The same few sets of roles come again and again.
def _sight_of(roles: frozenset[str]) -> Sight:
    if any(map(is_service_role, roles)):
        return _EVERYTHING
    return frozenset().union(*(CLEAR_FOR.get(role, ()) for role in roles))


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is masked in one type of message for one sight.

    Attributes:
        values: fields to mask, each with the kinds to treat it as outside payroll and in it (None: left as it is).
        parts: fields that hold messages with something to mask.
        payroll_when: the way to an enum field and the value that makes the message payroll; None: it is as the one around it.
    """

    values: tuple[tuple[FieldDescriptor, int | None, int | None], ...]
    parts: tuple[tuple[FieldDescriptor, _Plan], ...]
    payroll_when: tuple[tuple[str, ...], int] | None
    has_flag: bool


class Masker:
    """Masks the answers of one method."""

    __slots__ = ("_descriptor", "_plans")

    def __init__(self, descriptor: Descriptor | None) -> None:
        self._descriptor = descriptor
        self._plans: dict[Sight, _Plan | None] = {}

    def masked(self, message: Any, principal: Principal) -> Any:
        """Return the message as the caller may see it; itself if that is all of it."""
        sight = sight_of(principal)
        try:
            plan = self._plans[sight]
        except KeyError:
            plan = self._plans[sight] = None if self._descriptor is None else plan_of(self._descriptor, sight)
        if plan is None:
            return message
        copy = type(message)()
        copy.CopyFrom(message)  # a servicer may answer others with the same message
        _apply(plan, copy, is_payroll=False)
        return copy


def masker_of(path: str) -> Masker:
    """Return the masker of the method under "/package.Service/Method"; of one without a proto it masks nothing."""
    service, _, name = path.lstrip("/").rpartition("/")
    try:
        return Masker(descriptor_pool.Default().FindMethodByName(f"{service}.{name}").output_type)
    except KeyError:
        return Masker(None)


def plan_of(descriptor: Descriptor, sight: Sight, treated_as: int = 0) -> _Plan | None:
    """Return what to mask in messages of this type; None: nothing.

    Args:
        treated_as: the kind that the field which holds the message gives to the personal fields in it; 0: their own.
    """
    return _plan_of(descriptor, sight, treated_as, (), may_be_payroll=False)


def _plan_of(
    descriptor: Descriptor, sight: Sight, treated_as: int, above: tuple[tuple[str, int], ...], *, may_be_payroll: bool
) -> _Plan | None:
    key = (descriptor.full_name, treated_as)
    if key in above:  # no message of ours holds itself; one that did would be masked to this depth
        return None
    payroll_when = _payroll_when(descriptor)
    may_be_payroll = may_be_payroll or payroll_when is not None
    values, parts = [], []
    for field in descriptor.fields:
        kind = field.GetOptions().Extensions[personal_pb2.personal]
        if field.message_type is not None:
            held_as = kind or treated_as
            part = _plan_of(field.message_type, sight, held_as, (*above, key), may_be_payroll=may_be_payroll)
            if part is not None:
                parts.append((field, part))
        elif kind not in (0, NONE):
            own = treated_as or kind
            pair = (_outside(own, sight), _in_payroll(own, sight) if may_be_payroll else None)
            if pair != (None, None):
                values.append((field, *pair))
    if not values and not parts:
        return None
    return _Plan(tuple(values), tuple(parts), payroll_when, _FLAG in descriptor.fields_by_name)


def _payroll_when(descriptor: Descriptor) -> tuple[tuple[str, ...], int] | None:
    """Return the way to the field that makes the message payroll, its own or that of the one payment it holds."""
    for field in descriptor.fields:
        options = field.GetOptions()
        if options.HasExtension(personal_pb2.payroll_when):
            return (field.name,), options.Extensions[personal_pb2.payroll_when]
        inside = None if field.message_type is None or field.is_repeated else _payroll_when(field.message_type)
        if inside is not None:
            return (field.name, *inside[0]), inside[1]
    return None


def _outside(kind: int, sight: Sight) -> int | None:
    """Return how to mask a field of this kind outside payroll; None: it stays."""
    return None if kind in sight or kind in (NONE, NAME) else kind


def _in_payroll(kind: int, sight: Sight) -> int | None:
    if kind in (NONE, OWN_ACCOUNT) or PAYROLL in sight:
        return _outside(kind, sight)
    return PAYROLL if kind == TEXT else kind


def _apply(plan: _Plan, message: Message, *, is_payroll: bool) -> bool:
    """Mask in place, and say so wherever a message can; return whether something was masked."""
    if plan.payroll_when is not None:
        path, value = plan.payroll_when
        if found := reduce(getattr, path, message):  # a journal's lines leave the payment out: they are as it is
            is_payroll = found == value
    is_any = False
    for field, outside, in_payroll in plan.values:
        kind = in_payroll if is_payroll else outside
        if kind is not None:
            is_any |= _mask_field(message, field, kind)
    for field, part in plan.parts:
        if field.is_repeated:
            held = getattr(message, field.name)
        else:
            held = [getattr(message, field.name)] if message.HasField(field.name) else ()
        for one in held:
            is_any |= _apply(part, one, is_payroll=is_payroll)
    if is_any and plan.has_flag:
        setattr(message, _FLAG, True)
    return is_any


def _mask_field(message: Message, field: FieldDescriptor, kind: int) -> bool:
    """Mask a field's value or values; return whether that changed anything: words without a number stay as they are."""
    value = getattr(message, field.name)
    if not value:
        return False
    if kind == SIGNED:
        message.ClearField(field.name)
        return True
    if not field.is_repeated:
        setattr(message, field.name, _MASKS[kind](value))
        return bool(getattr(message, field.name) != value)
    before = list(value)
    value[:] = [_MASKS[kind](one) for one in before]
    return bool(before != list(value))


def mask_account(number: str) -> str:
    """Return the first six and the last four characters with stars between; of a short number only the last two."""
    return f"{number[:6]}****{number[-4:]}" if len(number) >= 12 else f"****{number[-2:]}"


def mask_name(name: str) -> str:
    """Return the first character with two stars, e.g. "张**"."""
    return f"{name[:1]}**"


def _mask_counterparty(value: str) -> str:
    return mask_account(value) if sum(map(str.isdigit, value)) > len(value) // 2 else mask_name(value)


_MASKS: Mapping[int, Callable[[str], str]] = {
    OWN_ACCOUNT: mask_account,
    ACCOUNT: mask_account,
    NAME: mask_name,
    COUNTERPARTY: _mask_counterparty,
    PAYROLL: lambda value: _HIDDEN,
    TEXT: mask_text,
}

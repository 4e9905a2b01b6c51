"""Every field of every answer is decided: personal in some way, or not at all; and a masked answer says so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from tests.architecture.roles import KNOWN_ROLES, roles_of, rpcs

from yinqi.api.common.v1 import personal_pb2
from yinqi.runtime.identity import Principal
from yinqi.runtime.personal import CLEAR_FOR, plan_of, sight_of

# How the names of fields end that hold references, dates, codes and technical words. Any other string or bytes needs the option.
_TECHNICAL = (
    "_id",
    "_date",
    "date",
    "currency",
    "traceparent",
    "_token",
    "_cursor",
    "digest",
    "_code",
    "_reference",
    "recorded_at",
)
_HOLDS = FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES


def fields_of(message: Descriptor, above: tuple[Descriptor, ...] = ()) -> Iterator[tuple[Descriptor, FieldDescriptor]]:
    """Yield every field that an answer can hold, however deep."""
    for field in message.fields:
        if field.message_type is None:
            yield message, field
        elif field.message_type not in above:
            yield from fields_of(field.message_type, (*above, message))


@pytest.mark.parametrize("rpc", rpcs(), ids=lambda rpc: rpc.full_name)
def test_every_text_in_an_answer_says_whether_it_is_personal(rpc: MethodDescriptor) -> None:
    undecided = {
        f"{message.full_name}.{field.name}"
        for message, field in fields_of(rpc.output_type)
        if field.type in _HOLDS
        and not field.name.endswith(_TECHNICAL)
        and field.GetOptions().Extensions[personal_pb2.personal] == personal_pb2.PERSONAL_UNSPECIFIED
    }
    assert not undecided, "give these fields (yinqi.api.common.v1.personal)"


@pytest.mark.parametrize("rpc", rpcs(), ids=lambda rpc: rpc.full_name)
def test_a_masked_answer_says_so(rpc: MethodDescriptor) -> None:
    for role in roles_of(rpc):
        plan = plan_of(rpc.output_type, sight_of(Principal("somebody", frozenset({role}))))
        assert plan is None or _says_so(plan), f"{role} hears of {rpc.full_name} masked, and nothing says so"


def _says_so(plan: object) -> bool:
    """Whether each value that is masked has a message around it that can say so."""
    return plan.has_flag or (not plan.values and all(_says_so(part) for _, part in plan.parts))  # type: ignore[attr-defined]


def test_services_and_those_who_may_see_all_get_answers_untouched() -> None:
    for principal in (
        Principal("payment", frozenset({"service/payment"})),
        Principal("dev", all_roles=True),
        Principal("hr", frozenset({"personal_viewer"})),
    ):
        assert all(plan_of(rpc.output_type, sight_of(principal)) is None for rpc in rpcs())


def test_who_hands_payments_in_hears_answers_untouched() -> None:
    """The hot path pays nothing."""
    sight = sight_of(Principal("erp", frozenset({"payment_initiator"})))
    assert all(plan_of(rpc.output_type, sight) is None for rpc in rpcs() if rpc.name.startswith("Initiate"))


def test_roles_that_see_something_in_clear_are_roles() -> None:
    assert set(CLEAR_FOR) <= set(KNOWN_ROLES)

"""Who may call what."""

from __future__ import annotations

import pytest

from yinqi.kernel.errors import PermissionDenied, Unauthenticated
from yinqi.runtime.denials import Denials
from yinqi.runtime.identity import (
    Principal,
    principal_from,
    require_role,
    roles_from_proto,
    service_role,
    without_service_roles,
)


def test_the_proto_names_the_roles_of_an_rpc() -> None:
    from yinqi.api.payment.v1 import payment_service_pb2  # noqa: F401 (registers the descriptors)

    roles = roles_from_proto("/yinqi.api.payment.v1.PaymentService/InitiatePayments")
    assert roles
    assert all(role.islower() for role in roles)


def test_health_is_open_and_an_unknown_rpc_is_closed() -> None:
    assert roles_from_proto("/grpc.health.v1.Health/Check") is None
    assert roles_from_proto("/nobody.Knows/This") == frozenset()


def test_one_of_the_roles_is_enough_and_a_refusal_names_them() -> None:
    zhang = Principal("zhang", frozenset({"maker"}))
    require_role(zhang, frozenset({"maker", "service/payment"}), "/m")
    with pytest.raises(PermissionDenied, match="checker, treasurer"):
        require_role(zhang, frozenset({"treasurer", "checker"}), "/m")


def test_roles_are_read_from_the_list() -> None:
    found = principal_from("zhang", " maker, checker ,", dev_identity_enabled=True)
    assert (found.name, found.roles, found.all_roles) == ("zhang", {"maker", "checker"}, False)


def test_no_identity_is_the_dev_principal_only_while_that_is_enabled() -> None:
    assert principal_from("", "", dev_identity_enabled=True).all_roles
    with pytest.raises(Unauthenticated):
        principal_from("", "", dev_identity_enabled=False)


@pytest.mark.parametrize("name", ["x" * 101, "a\nb", "a\x00"])
def test_a_name_must_be_short_and_printable(name: str) -> None:
    with pytest.raises(Unauthenticated):
        principal_from(name, "maker", dev_identity_enabled=True)


def test_each_service_has_a_role_of_its_own_that_nobody_else_can_hold() -> None:
    sister = Principal("account", frozenset({service_role("account")}))
    assert sister.is_service
    with pytest.raises(PermissionDenied, match="service/payment"):
        require_role(sister, frozenset({service_role("payment")}), "/m")
    given = ["maker", "service", "service/payment", "service/anything"]
    assert without_service_roles(given) == {"maker"}
    assert not Principal("zhang", without_service_roles(given)).is_service


async def test_a_flood_of_refusals_is_told_once_a_minute_and_each_caller_and_method_apart() -> None:
    told, now = [], [0.0]

    async def tell(principal: Principal, method: str) -> None:
        told.append((principal.name, method))
        raise RuntimeError("the store is away")  # the caller is refused all the same

    denials = Denials(tell, lambda: now[0])
    for _ in range(100):
        await denials.note(Principal("account"), "/p.S/Submit")
    await denials.note(Principal("account"), "/p.S/Query")
    await denials.note(Principal("zhang"), "/p.S/Submit")
    now[0] = 61.0
    await denials.note(Principal("account"), "/p.S/Submit")
    assert told == [("account", "Submit"), ("account", "Query"), ("zhang", "Submit"), ("account", "Submit")]

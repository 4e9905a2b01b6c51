"""What viewers hear of account numbers and wages, over the wire."""

from __future__ import annotations

from typing import Any

from payment_builders import instruction_message
from running import House, run_house

from yinqi.api.payment.v1 import payment_pb2
from yinqi.api.payment.v1 import payment_service_pb2 as pb
from yinqi.runtime import attributes
from yinqi.runtime.settings import Settings


def as_role(*roles: str) -> tuple[tuple[str, str], ...]:
    return ((attributes.IDENTITY_KEY, "somebody"), (attributes.ROLES_KEY, ",".join(roles)))


async def seen(house: House, *roles: str) -> list[payment_pb2.Payment]:
    """The payment as each of the three RPCs that show it gives it to these roles."""
    metadata = as_role(*roles)
    got = await house.stub.GetPayment(pb.GetPaymentRequest(end_to_end_id="WAGE"), timeout=60, metadata=metadata)
    listed = await house.stub.ListPayments(pb.ListPaymentsRequest(), timeout=60, metadata=metadata)
    found = [got.payment, *listed.payments]
    if "payment_viewer" in roles:  # the only ones who may follow
        stream: Any = house.stub.FollowPayments(pb.FollowPaymentsRequest(), timeout=60, metadata=metadata)
        async for response in stream:
            found.append(response.events[0].payment)
            stream.cancel()
            break
    return found


async def test_a_viewer_sees_no_wages_and_who_is_entitled_does(sqlite_url: str, settings: Settings) -> None:
    async with run_house(sqlite_url, settings) as house:
        wage = instruction_message("WAGE", category_purpose=payment_pb2.CATEGORY_PURPOSE_SALA, creditor__name="张三丰")
        await house.initiate(wage)
        await house.reaches("WAGE", "SETTLED")
        number = wage.creditor_account.identification
        for roles, sees_numbers, sees_wages in (
            (("payment_viewer",), False, False),
            (("payment_initiator",), True, False),
            (("payment_viewer", "personal_viewer"), True, True),
        ):
            for payment in await seen(house, *roles):
                order = payment.instruction
                debtor = order.debtor_account.identification
                assert (debtor == wage.debtor_account.identification) is sees_numbers, roles
                assert order.creditor.name == ("张三丰" if sees_wages else "张**"), roles
                assert (order.creditor_account.identification == number) is sees_wages, roles
                assert payment.is_masked is not sees_wages, roles

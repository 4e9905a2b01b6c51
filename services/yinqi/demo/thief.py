"""A thief who holds the payment service, and the ERP's key as well, and asks the gateway for money nobody approved."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from yinqi.api.gateway.v1 import gateway_pb2, gateway_service_pb2, gateway_service_pb2_grpc
from yinqi.api.payment.v1 import payment_pb2
from yinqi.client import NewOrder, new_order
from yinqi.demo.company import MAKER, NAME, Company
from yinqi.demo.sisters import Sisters, patiently
from yinqi.orders.evidence import Evidence, evidence_to
from yinqi.orders.line_tree import joined

_OWN_ACCOUNT = "6225889900112233"
_STOLEN_MINOR_UNITS = 48_000_00
_LAST_DOOR = "LAST_DOOR_"


class Theft(NamedTuple):
    """One attempt. `answer`: what the gateway said, "" if it sent the payment."""

    what: str
    instruction_id: str
    answer: str


async def steal(company: Company, sisters: Sisters) -> list[Theft]:
    """Try to get money out, each time another way."""
    gateway = gateway_service_pb2_grpc.GatewayServiceStub(await sisters.as_payment("gateway"))
    found = []
    for what, submission, orders in _attempts(company):
        request = gateway_service_pb2.SubmitPaymentsRequest(
            submissions=[submission], orders=[evidence_to(one) for one in orders]
        )
        (report,) = (await patiently(lambda: gateway.SubmitPayments(request, timeout=60))).reports  # noqa: B023 (awaited)
        is_shut = report.status == gateway_pb2.BANK_STATUS_NOT_SENT and report.reason_code.startswith(_LAST_DOOR)
        answer = report.reason_code.removeprefix(_LAST_DOOR) if is_shut else ""
        found.append(Theft(what, submission.instruction_id, answer))
    return found


def _attempts(company: Company) -> Iterator[tuple[str, gateway_pb2.Submission, list[Evidence]]]:
    approved = max(company.orders.values(), key=lambda order: len(order.lines))
    line = payment_pb2.PaymentInstruction.FromString(approved.lines[0])
    line.creditor.name, line.creditor_account.identification = "小偷", _OWN_ACCOUNT
    line.end_to_end_id = "THIEF-1"
    yield "without any order 无付款单", _submission(1, line), []
    whole = Evidence(approved.signed, joined(approved.leaves))
    changed = _submission(2, line, approved, line.SerializeToString())
    yield "a signed line with another creditor 篡改收款人", changed, [whole]
    line.end_to_end_id = "THIEF-2"
    line.instructed_amount.minor_units = _STOLEN_MINOR_UNITS
    forged = new_order("THIEF", [line], company=NAME, key=company.keys[MAKER])
    alone = Evidence(forged.signed, joined(forged.leaves))
    yield "signed with the ERP's stolen key, approved by nobody 无人审批", _submission(3, line, forged), [alone]


def _submission(
    number: int, line: payment_pb2.PaymentInstruction, order: NewOrder | None = None, content: bytes = b""
) -> gateway_pb2.Submission:
    submission = gateway_pb2.Submission(instruction_id=f"YQTHIEF{number:017}", attempt=1, instruction=line)
    if order is not None:
        submission.order_line = content or order.lines[0]
        submission.order_digest, submission.line_number = order.digest, 1
    return submission

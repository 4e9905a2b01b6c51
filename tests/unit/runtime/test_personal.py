"""Account numbers and payroll in answers, by the caller's roles."""

from __future__ import annotations

from typing import Any

import pytest

from yinqi.api.account.v1 import account_service_pb2
from yinqi.api.gateway.v1 import stop_pb2
from yinqi.api.payment.v1 import payment_pb2, payment_service_pb2
from yinqi.api.reconciliation.v1 import reconciliation_service_pb2
from yinqi.runtime.identity import Principal
from yinqi.runtime.personal import masker_of

SUPPLIER, WORKER = "6225880000001234", "6222020000005678"
DEBTOR = "755915678910001"


def seen(path: str, message: Any, *roles: str) -> Any:
    return masker_of(path).masked(message, Principal("somebody", frozenset(roles)))


def instruction(kind: payment_pb2.CategoryPurpose.ValueType, name: str, account: str) -> payment_pb2.PaymentInstruction:
    line = payment_pb2.PaymentInstruction(category_purpose=kind, remittance_information="to 6225880000001234")
    line.debtor.name, line.creditor.name = "银企示例有限公司", name
    line.debtor_account.identification, line.creditor_account.identification = DEBTOR, account
    line.debtor_account.currency = "CNY"
    line.payroll_details.employee_id = "E-17"
    return line


LISTED = payment_service_pb2.ListPaymentsResponse(
    payments=[
        payment_pb2.Payment(
            instruction_id="YQ1", instruction=instruction(payment_pb2.CATEGORY_PURPOSE_SUPP, "苏州供应商", SUPPLIER)
        ),
        payment_pb2.Payment(
            instruction_id="YQ2", instruction=instruction(payment_pb2.CATEGORY_PURPOSE_SALA, "张三", WORKER)
        ),
    ]
)
LIST = "/yinqi.api.payment.v1.PaymentService/ListPayments"


def test_a_viewer_sees_no_number_and_nobodys_wages() -> None:
    before = LISTED.SerializeToString()
    supplier, worker = (one.instruction for one in seen(LIST, LISTED, "payment_viewer").payments)
    assert (supplier.creditor.name, supplier.creditor_account.identification) == ("苏州供应商", "622588****1234")
    assert (worker.creditor.name, worker.creditor_account.identification) == ("张**", "622202****5678")
    assert supplier.debtor_account.identification == worker.debtor_account.identification == "755915****0001"
    assert (supplier.debtor.name, supplier.debtor_account.currency) == ("银企示例有限公司", "CNY")
    assert (supplier.remittance_information, worker.remittance_information) == ("to ****1234", "***")
    assert worker.payroll_details.employee_id == "***"
    assert all(one.is_masked for one in seen(LIST, LISTED, "payment_viewer").payments)
    assert LISTED.SerializeToString() == before  # what the servicer holds is not touched


def test_who_hands_in_sees_numbers_and_wages_only_as_a_personal_viewer() -> None:
    supplier, worker = seen(LIST, LISTED, "payment_initiator").payments
    assert supplier.instruction.creditor_account.identification == SUPPLIER
    assert (worker.instruction.creditor.name, worker.instruction.creditor_account.identification) == (
        "张**",
        "622202****5678",
    )
    assert worker.instruction.debtor_account.identification == DEBTOR
    assert worker.is_masked
    assert seen(LIST, LISTED, "payment_initiator", "personal_viewer") is LISTED


@pytest.mark.parametrize(
    "roles", [("service/monitoring",), ("payment_approver",), ("personal_viewer", "payment_viewer")]
)
def test_who_may_see_all_gets_the_very_message(roles: tuple[str, ...]) -> None:
    assert seen(LIST, LISTED, *roles) is LISTED


def test_feeds_and_single_payments_are_masked_alike() -> None:
    event = payment_pb2.PaymentEvent(payment=LISTED.payments[1])
    followed = payment_service_pb2.FollowPaymentsResponse(events=[event])
    found = seen("/yinqi.api.payment.v1.PaymentService/FollowPayments", followed, "payment_viewer").events[0].payment
    got = payment_service_pb2.GetPaymentResponse(payment=LISTED.payments[1], journal=[event])
    one = seen("/yinqi.api.payment.v1.PaymentService/GetPayment", got, "payment_viewer")
    assert found == one.payment == one.journal[0].payment
    assert found.instruction.creditor.name == "张**"


def test_what_the_bank_says_of_somebodys_wages_is_hidden_with_them() -> None:
    payment = payment_pb2.Payment(instruction=LISTED.payments[1].instruction)
    payment.status_reason.code, payment.status_reason.text = "ACT0009", "户名张三不符"
    event = payment_pb2.PaymentEvent(payment=payment, reason=payment.status_reason)
    bare = payment_pb2.PaymentEvent(reason=payment.status_reason)  # as journals show it
    got = payment_service_pb2.GetPaymentResponse(payment=payment, journal=[event, bare])
    found = seen("/yinqi.api.payment.v1.PaymentService/GetPayment", got, "payment_initiator")
    assert {one.text for one in (found.payment.status_reason, *(each.reason for each in found.journal))} == {"***"}
    assert found.payment.status_reason.code == "ACT0009"
    got.payment.instruction.category_purpose = payment_pb2.CATEGORY_PURPOSE_SUPP
    again = seen("/yinqi.api.payment.v1.PaymentService/GetPayment", got, "payment_initiator")
    assert again.payment.status_reason.text == "户名张三不符"
    assert again.journal[0].reason.text == "***", "each event is as its own payment"


def test_an_order_that_waits_shows_a_viewer_no_signed_bytes_and_no_largest_creditor() -> None:
    response = payment_service_pb2.GetApprovalResponse(lines=[b"signed"])
    response.approval.largest_creditor = "张三"
    response.approval.evidence.order.order = b"order"
    response.approval.evidence.decisions.add(decision=b"the text that was shown", key_id="k")
    found = seen("/yinqi.api.payment.v1.PaymentService/GetApproval", response, "payment_viewer")
    assert (list(found.lines), found.approval.largest_creditor) == ([], "***")
    assert (found.approval.evidence.decisions[0].decision, found.approval.evidence.order.order) == (b"", b"order")
    assert found.is_masked
    assert found.approval.is_masked
    assert seen("/yinqi.api.payment.v1.PaymentService/GetApproval", response, "payment_approver") is response


def test_entries_and_breaks_hide_the_counterparty_from_who_only_looks() -> None:
    entries = account_service_pb2.ListEntriesResponse()
    entries.entries.add(account=DEBTOR, counterparty_name="张三", counterparty_account=WORKER)
    path = "/yinqi.api.account.v1.AccountService/ListEntries"
    (entry,) = seen(path, entries, "account_viewer").entries
    assert (entry.account, entry.counterparty_name, entry.counterparty_account) == (DEBTOR, "张**", "622202****5678")
    assert entry.is_masked
    breaks = reconciliation_service_pb2.ListBreaksResponse()
    breaks.breaks.add(account=DEBTOR, counterparty_name="张三")
    path = "/yinqi.api.reconciliation.v1.ReconciliationService/ListBreaks"
    assert seen(path, breaks, "account_viewer").breaks[0].counterparty_name == "张**"
    assert seen(path, breaks, "reconciler") is breaks


def test_a_stopped_account_is_masked_and_a_stopped_bank_is_not() -> None:
    stops = stop_pb2.ListStopsResponse()
    stops.stops.add().scope.name = "demo_bank"
    stops.stops.add().scope.name = DEBTOR
    found = seen("/yinqi.api.gateway.v1.GatewayService/ListStops", stops, "payment_viewer").stops
    assert [stop.scope.name for stop in found] == ["demo_bank", "****0001"]
    assert [stop.is_masked for stop in found] == [False, True]


@pytest.mark.parametrize("number", ["1", "12345", "12345678901"])
def test_a_short_number_keeps_its_last_two_characters_at_most(number: str) -> None:
    balances = account_service_pb2.GetBalancesResponse()
    balances.balances.add(account=number)
    found = seen("/yinqi.api.account.v1.AccountService/GetBalances", balances, "alert_viewer").balances[0].account
    assert found == f"****{number[-2:]}"

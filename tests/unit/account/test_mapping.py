"""Protobuf ↔ model at the edges: dates, page sizes, tokens, events."""

from __future__ import annotations

from datetime import date

import pytest

from yinqi.account import mapping
from yinqi.api.account.v1 import account_service_pb2
from yinqi.api.payment.v1 import payment_pb2
from yinqi.kernel.errors import InvalidRequest


@pytest.mark.parametrize("text", ["20261122", "2026-13-01", "22.11.2026", "2026-W47-7", "today"])
def test_a_date_is_year_month_day_with_hyphens(text: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        mapping.date_from_request(text, "from_date")
    assert refused.value.violations[0].field == "from_date"
    assert mapping.date_from_request("", "from_date") is None


@pytest.mark.parametrize("size", [-1, 1_001])
def test_a_page_has_one_to_a_thousand_lines(size: int) -> None:
    with pytest.raises(InvalidRequest, match="page_size"):
        mapping.posting_filter_from_proto(account_service_pb2.ListPostingsRequest(page_size=size))
    assert mapping.posting_filter_from_proto(account_service_pb2.ListPostingsRequest()).limit == 101


@pytest.mark.parametrize(
    "token", ["x", "2026-11-22", "2026-11-22.x", "..", "99", "2026-11-22." + "9" * 30, "2026-11-22.-1"]
)
def test_a_forged_page_token_is_refused(token: str) -> None:
    with pytest.raises(InvalidRequest, match="page_token"):
        mapping.entry_filter_from_proto(account_service_pb2.ListEntriesRequest(page_token=token))


def test_an_event_becomes_a_move_on_our_banking_date() -> None:
    event = payment_pb2.PaymentEvent(sequence=9, to_status=payment_pb2.PAYMENT_STATUS_SETTLED)
    event.occurred_at.FromJsonString("2026-11-21T16:30:00Z")  # 00:30 the next day in Shanghai
    event.payment.instruction_id = "YQ1"
    event.payment.instruction.debtor_account.identification = "755"
    event.payment.instruction.instructed_amount.CopyFrom(mapping.money_pb2.Money(currency="CNY", minor_units=5))
    event.payment.settlement_date = "2026-11-22"
    move = mapping.move_from_event(event)
    assert (move.status, move.occurred_on, move.settlement_date) == ("SETTLED", date(2026, 11, 22), date(2026, 11, 22))
    assert (move.account, move.amount.minor_units, move.return_date) == ("755", 5, None)


def test_a_status_of_the_future_has_a_name_that_books_nothing() -> None:
    event = payment_pb2.PaymentEvent(sequence=9, to_status=99)  # type: ignore[arg-type]
    assert mapping.move_from_event(event).status == "99"


def test_at_most_a_thousand_accounts_are_asked_for_at_once() -> None:
    with pytest.raises(InvalidRequest, match="accounts"):
        mapping.accounts_from_request(["755"] * 1_001)

"""What an event means for the people who watch."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from yinqi.kernel.money import Money
from yinqi.monitoring import alert_rules
from yinqi.monitoring.model import BreakChange, EntrySeen, PaymentChange, Severity, StatementChecked

NOON = datetime(2026, 11, 22, 4, tzinfo=UTC)
CHANGE = PaymentChange("YQ1", "E2E-1", "UNKNOWN", NOON, Money("CNY", 12_345), "NO_ANSWER", "00-1-1-01")
BREAK = BreakChange(
    "break.opened", "BR1", "BANK_DEBIT_NOT_IN_BOOKS", "755000000000001", "2026-11-22", Money("CNY", 1), True
)


@pytest.mark.parametrize(
    ("status", "rule", "severity"),
    [
        ("RETURNED", "payment_returned", Severity.WARNING),
        ("REJECTED", "payment_rejected", Severity.INFO),
        ("BLOCKED", "payment_blocked", Severity.WARNING),
    ],
)
def test_these_statuses_raise_an_alert(status: str, rule: str, severity: Severity) -> None:
    (cause,) = alert_rules.effects_of_payments([replace(CHANGE, status=status)]).raised
    assert (cause.rule, cause.severity, cause.subject) == (rule, severity, "YQ1")
    assert "E2E-1" in cause.summary
    assert "E2E-1" in cause.summary_zh


@pytest.mark.parametrize("status", ["RECEIVED", "PROCESSING", "SETTLED", "UNKNOWN", "SOMETHING_NEW"])
def test_other_statuses_raise_none(status: str) -> None:
    assert alert_rules.effects_of_payments([replace(CHANGE, status=status)]).raised == []


@pytest.mark.parametrize("status", ["SETTLED", "REJECTED", "RETURNED"])
def test_a_bank_that_contradicts_itself_is_the_worst_news_and_nothing_else(status: str) -> None:
    change = replace(CHANGE, status=status, reason_code="CONTRADICTION")
    (cause,) = alert_rules.effects_of_payments([change]).raised
    assert (cause.rule, cause.severity) == ("payment_contradicted", Severity.CRITICAL)
    assert "ask the bank" in cause.summary
    assert "矛盾" in cause.summary_zh


def test_only_a_final_status_ends_the_wait_for_an_answer() -> None:
    key = ("payment_unknown_too_long", "YQ1")
    for status in alert_rules.FINAL_STATUSES:
        assert key in alert_rules.effects_of_payments([replace(CHANGE, status=status)]).closed
    assert alert_rules.effects_of_payments([replace(CHANGE, status="PROCESSING")]).closed == []


def test_a_payment_told_unknown_again_has_been_waiting_since_the_first_time() -> None:
    later = replace(CHANGE, occurred_at=NOON + timedelta(minutes=5))
    left, waiting = alert_rules.waiting_after([CHANGE, later])
    assert left == set()
    assert [one.since for one in waiting] == [NOON]


def test_a_payment_that_left_unknown_and_came_back_waits_anew() -> None:
    later = replace(CHANGE, occurred_at=NOON + timedelta(minutes=5))
    left, waiting = alert_rules.waiting_after([CHANGE, replace(CHANGE, status="PROCESSING"), later])
    assert left == {"YQ1"}
    assert [one.since for one in waiting] == [later.occurred_at]


def test_the_alert_on_an_overdue_answer_says_how_long_and_that_nothing_is_sent_again() -> None:
    (waiting,) = alert_rules.waiting_after([CHANGE])[1]
    cause = alert_rules.unknown_too_long(waiting, NOON + timedelta(seconds=90))
    assert cause.severity is Severity.CRITICAL
    assert "90 s" in cause.summary
    assert "not sent again" in cause.summary
    assert cause.traceparent == CHANGE.traceparent


def test_a_break_raises_and_its_end_closes() -> None:
    opened = alert_rules.effects_of_reconciliations([BREAK])
    assert [(c.rule, c.subject) for c in opened.raised] == [("break_opened", "BR1")]
    for end in ("break.resolved", "break.cleared"):
        assert alert_rules.effects_of_reconciliations([replace(BREAK, type=end)]).closed == [("break_opened", "BR1")]


def test_break_texts_mask_the_account() -> None:
    (cause,) = alert_rules.effects_of_reconciliations([BREAK]).raised
    assert BREAK.account not in cause.summary + cause.summary_zh
    assert "银行已付企业未付" in cause.summary_zh


def test_the_last_run_of_a_batch_decides_whether_the_statement_is_complete() -> None:
    incomplete = StatementChecked("755", "2026-11-22", False)
    complete = replace(incomplete, is_complete=True)
    ended_bad = alert_rules.effects_of_reconciliations([complete, incomplete])
    assert [c.rule for c in ended_bad.raised] == ["statement_incomplete"]
    assert ended_bad.closed == []
    ended_well = alert_rules.effects_of_reconciliations([incomplete, complete])
    assert ended_well.raised == []
    assert [rule for rule, _ in ended_well.closed] == ["statement_incomplete"]


def test_a_reversal_raises_and_an_ordinary_entry_does_not() -> None:
    entry = EntrySeen("755000000000001", "R1", "", Money("CNY", 5), "2026-11-22", is_reversal=True)
    (cause,) = alert_rules.effects_of_entries([entry, replace(entry, is_reversal=False)]).raised
    assert (cause.rule, cause.subject) == ("entry_reversed", "2026-11-22/R1")
    assert entry.account not in cause.summary + cause.summary_zh

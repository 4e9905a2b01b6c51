"""A refused notice is an alert, and a flood of them is one."""

from __future__ import annotations

import datetime as dt

from yinqi.api.gateway.v1 import gateway_pb2
from yinqi.monitoring import mapping
from yinqi.monitoring.alert_rules import effects_of_notices
from yinqi.monitoring.model import Severity


def event(minute: int, **fields: object) -> gateway_pb2.NoticeEvent:
    message = gateway_pb2.NoticeEvent(bank_profile="demo_bank", archive_id="AR1", **fields)  # type: ignore[arg-type]
    message.occurred_at.FromDatetime(dt.datetime(2026, 11, 22, 4, minute, tzinfo=dt.UTC))
    return message


def test_reports_are_no_alerts_and_refusals_are_once_an_hour() -> None:
    report = gateway_pb2.PaymentStatusReport(instruction_id="YQ1")
    events = [event(0, report=report), *(event(n, refusal="BAD_SIGNATURE") for n in range(60))]
    effects = effects_of_notices(mapping.notices_from(events))
    assert {cause.subject for cause in effects.raised} == {"demo_bank/BAD_SIGNATURE/2026-11-22T04"}
    (cause,) = {cause.severity for cause in effects.raised}
    assert cause is Severity.CRITICAL
    assert "forged or replayed" in effects.raised[0].summary
    assert "AR1" in effects.raised[0].summary_zh


def test_a_signed_notice_that_does_not_fit_is_told_apart_from_a_forged_one() -> None:
    (cause,) = effects_of_notices(mapping.notices_from([event(0, refusal="RECORD_MISMATCH")])).raised
    assert "does not fit our records" in cause.summary


def test_the_shut_last_door_is_an_alert_of_its_own() -> None:
    event_ = event(0, refusal="LAST_DOOR_ORDER_SIGNATURE_INVALID", notice_type="LAST_DOOR", notice_number="PI1")
    (cause,) = effects_of_notices(mapping.notices_from([event_])).raised
    assert (cause.rule, cause.severity) == ("last_door_shut", Severity.CRITICAL)
    assert "ORDER_SIGNATURE_INVALID" in cause.summary
    assert "均未发送" in cause.summary_zh


def test_a_policy_that_cannot_be_used_is_an_alert_of_its_own() -> None:
    event_ = event(0, refusal="LAST_DOOR_POLICY_REFUSED", notice_type="LAST_DOOR", notice_number="policy version 2")
    (cause,) = effects_of_notices(mapping.notices_from([event_])).raised
    assert (cause.rule, cause.severity) == ("policy_refused", Severity.CRITICAL)
    assert "stays in force" in cause.summary

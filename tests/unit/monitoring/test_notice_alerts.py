"""A refused notice is an alert, and a flood of them is one."""

from __future__ import annotations

import datetime as dt

from yinqi.api.gateway.v1 import gateway_pb2, stop_pb2
from yinqi.monitoring import mapping
from yinqi.monitoring.alert_rules import effects_of_notices
from yinqi.monitoring.model import AlertCause, Severity


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


def test_a_pulled_stop_is_an_alert_and_its_lifting_ends_it_with_another() -> None:
    stop = stop_pb2.Stop(stop_id="ST1", pulled=stop_pb2.StopWord(person="li.si", reason="账户疑似被盗"))
    stop.scope.kind, stop.scope.name = stop_pb2.STOP_SCOPE_KIND_ACCOUNT, "755915678910001"
    fields = {"notice_type": "STOP", "notice_number": "ST1"}
    (pulled,) = effects_of_notices(mapping.notices_from([event(0, refusal="STOP_PULLED", stop=stop, **fields)])).raised
    assert (pulled.rule, pulled.severity, pulled.subject) == ("stop_pulled", Severity.CRITICAL, "ST1")
    assert "li.si stopped payments from account 7559****0001: 账户疑似被盗" in pulled.summary
    stop.lift_asked.person, stop.lifted.person = "li.si", "wang.wu"
    effects = effects_of_notices(mapping.notices_from([event(1, refusal="STOP_LIFTED", stop=stop, **fields)]))
    assert [(cause.rule, cause.severity) for cause in effects.raised] == [("stop_lifted", Severity.WARNING)]
    assert "li.si、wang.wu" in effects.raised[0].summary_zh
    assert effects.closed == [("stop_pulled", "ST1")]


def test_each_change_of_a_key_is_told_and_a_retired_key_of_the_bank_is_critical() -> None:
    events = [event(n, refusal=refusal) for n, refusal in enumerate(["KEY_ACTIVATION_ASKED", "KEY_ACTIVATED"])]
    causes = effects_of_notices(mapping.notices_from(events)).raised
    assert [(cause.rule, cause.severity) for cause in causes] == [("bank_key_changed", Severity.WARNING)] * 2
    assert "a second person must confirm" in causes[0].summary
    (cause,) = effects_of_notices(mapping.notices_from([event(3, refusal="BANK_KEY_RETIRED")])).raised
    assert (cause.rule, cause.severity) == ("bank_key_retired", Severity.CRITICAL)


def test_a_policy_that_cannot_be_used_is_an_alert_of_its_own() -> None:
    event_ = event(0, refusal="LAST_DOOR_POLICY_REFUSED", notice_type="LAST_DOOR", notice_number="policy version 2")
    (cause,) = effects_of_notices(mapping.notices_from([event_])).raised
    assert (cause.rule, cause.severity) == ("policy_refused", Severity.CRITICAL)
    assert "stays in force" in cause.summary


def test_each_payment_at_the_shut_door_is_an_alert_and_the_same_one_again_is_none() -> None:
    events = [
        event(n, refusal="LAST_DOOR_ORDER_MISSING", notice_type="LAST_DOOR", notice_number=f"YQ{n % 3}")
        for n in range(9)
    ]
    causes = effects_of_notices(mapping.notices_from(events)).raised
    assert {cause.subject for cause in causes} == {
        f"demo_bank/LAST_DOOR_ORDER_MISSING/YQ{n}/2026-11-22T04" for n in range(3)
    }
    assert "YQ2" in causes[2].summary


def test_a_service_that_calls_what_its_role_forbids_is_a_critical_alert_and_a_person_a_warning() -> None:
    def cause(who: str) -> AlertCause:
        event_ = event(0, refusal="CALLER_REFUSED_SubmitPayments", notice_type="ACCESS", notice_number=who)
        return effects_of_notices(mapping.notices_from([event_])).raised[0]

    assert (cause("service account").rule, cause("service account").severity) == ("caller_refused", Severity.CRITICAL)
    assert "service account called SubmitPayments" in cause("service account").summary
    assert cause("zhang").severity is Severity.WARNING

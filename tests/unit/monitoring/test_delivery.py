"""Reading YINQI_ALERT_URLS and writing what people get."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from yinqi.monitoring.delivery import AlertUrlInvalid, channels_from, message_body, message_title
from yinqi.monitoring.model import Alert, AlertStatus, PendingDelivery, Severity
from yinqi.monitoring.use_cases import group_messages

ALERT = Alert(
    "AL1",
    "payment_returned",
    Severity.WARNING,
    AlertStatus.OPEN,
    "YQ1",
    "Payment E1 was returned.",
    "付款 E1 被退汇。",
    datetime(2026, 11, 22, tzinfo=UTC),
)


def test_no_urls_mean_no_channels() -> None:
    assert channels_from("") == []
    assert channels_from(" \n ") == []


def test_urls_are_separated_by_blanks_or_commas_and_may_name_a_severity() -> None:
    setting = "json://127.0.0.1:9000/a?x=1,2, CRITICAL|json://127.0.0.1:9000/b\nwarning|json://127.0.0.1:9000/c"
    assert [channel.severity_min for channel in channels_from(setting)] == [
        Severity.INFO,
        Severity.CRITICAL,
        Severity.WARNING,
    ]


def test_a_channel_key_is_stable_and_does_not_hold_the_url() -> None:
    (one,), (same,), (other,) = (channels_from(f"json://user:secret@host/{path}") for path in "aab")
    assert one.key == same.key != other.key
    assert "secret" not in one.key


@pytest.mark.parametrize("setting", ["nosuch://user:secret@host", "URGENT|json://user:secret@host"])
def test_a_wrong_entry_is_named_by_place_without_its_secrets(setting: str) -> None:
    with pytest.raises(AlertUrlInvalid, match="entry 2") as caught:
        channels_from(f"json://host/ {setting}")
    assert "secret" not in caught.value.message


def test_people_read_both_languages_and_a_machine_finds_the_alert_again() -> None:
    body = message_body([ALERT])
    assert ALERT.summary in body
    assert ALERT.summary_zh in body
    assert "alert_id: AL1" in body
    assert "警告 Warning" in message_title([ALERT])


class RecordingChannel:
    """A channel that only has a key and a threshold."""

    def __init__(self, key: str, severity_min: Severity = Severity.INFO) -> None:
        self.key = key
        self.severity_min = severity_min

    def send(self, alerts) -> bool:
        raise AssertionError("grouping sends nothing")


def test_many_alerts_of_one_rule_are_one_message_per_channel() -> None:
    returned = [PendingDelivery(replace(ALERT, alert_id=f"AL{n}"), frozenset()) for n in range(3)]
    rejected = PendingDelivery(
        replace(ALERT, alert_id="AL9", rule="payment_rejected", severity=Severity.INFO), frozenset()
    )
    every, urgent = RecordingChannel("every"), RecordingChannel("urgent", Severity.WARNING)
    groups = group_messages([*returned, rejected], [every, urgent])
    assert sorted((channel.key, [a.alert_id for a in alerts]) for channel, alerts in groups) == [
        ("every", ["AL0", "AL1", "AL2"]),
        ("every", ["AL9"]),
        ("urgent", ["AL0", "AL1", "AL2"]),
    ]


def test_a_channel_that_confirmed_does_not_get_the_alert_again() -> None:
    half_done = PendingDelivery(ALERT, frozenset({"first"}))
    groups = group_messages([half_done], [RecordingChannel("first"), RecordingChannel("second")])
    assert [channel.key for channel, _ in groups] == ["second"]


def test_a_message_of_many_says_how_many_and_names_each() -> None:
    alerts = [replace(ALERT, alert_id=f"AL{n}", raised_at=ALERT.raised_at + timedelta(seconds=n)) for n in range(12)]
    assert message_title(alerts).endswith("payment_returned × 12")
    assert message_body(alerts).count("alert_id: AL") == 12

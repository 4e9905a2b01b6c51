"""Reading YINQI_ALERT_URLS and writing what people get."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from yinqi.monitoring.delivery import AlertUrlInvalid, alert_body, alert_title, channels_from
from yinqi.monitoring.model import Alert, AlertStatus, Severity

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
    body = alert_body(ALERT)
    assert ALERT.summary in body
    assert ALERT.summary_zh in body
    assert "alert_id: AL1" in body
    assert "警告 Warning" in alert_title(ALERT)

"""Channels that carry alerts to people, by apprise (mail, chat, SMS, webhooks …)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence

import apprise

from yinqi.kernel.errors import InvalidRequest
from yinqi.monitoring.model import Alert, Severity

_SEPARATOR = re.compile(r"[\s,]+(?=(?:[A-Za-z]+\|)?[A-Za-z][A-Za-z0-9+.-]*://)")
_TITLES: Mapping[Severity, tuple[str, str]] = {
    Severity.INFO: ("Notice", "提示"),
    Severity.WARNING: ("Warning", "警告"),
    Severity.CRITICAL: ("Critical", "严重"),
}
_NOTIFY_TYPES: Mapping[Severity, apprise.NotifyType] = {
    Severity.INFO: apprise.NotifyType.INFO,
    Severity.WARNING: apprise.NotifyType.WARNING,
    Severity.CRITICAL: apprise.NotifyType.FAILURE,
}


class AlertUrlInvalid(InvalidRequest):
    """YINQI_ALERT_URLS names a channel that cannot be built; the message says which one, without its secrets."""


class AppriseChannel:
    """One configured URL. See `ports.Channel`.

    Args:
        url: an apprise URL; may hold secrets, so it is never shown.
        severity_min: alerts below it are not sent here.
        position: place in the setting, from 1, for messages.
    Raises:
        AlertUrlInvalid: apprise does not understand the URL.
    """

    def __init__(self, url: str, severity_min: Severity, position: int) -> None:
        self.key = hashlib.sha256(url.encode()).hexdigest()[:16]
        self.severity_min = severity_min
        plugin = apprise.Apprise.instantiate(url, suppress_exceptions=True)
        if not isinstance(plugin, apprise.NotifyBase):
            scheme = url.split("://")[0]
            raise AlertUrlInvalid(
                "ALERT_URL_INVALID",
                f"YINQI_ALERT_URLS: entry {position} ({scheme}://…) is not a URL that apprise understands; "
                "see the list of services in its documentation.",
                f"YINQI_ALERT_URLS 第 {position} 项（{scheme}://…）无效。",
            )
        # Retries are ours: apprise's own would sleep in our threads.
        self._plugin = plugin

    def send(self, alerts: Sequence[Alert]) -> bool:
        """Deliver alerts of one rule in one message; blocking, at most for the URL's own timeouts."""
        return bool(
            self._plugin.notify(
                title=message_title(alerts),
                body=message_body(alerts),
                notify_type=_NOTIFY_TYPES[max(alert.severity for alert in alerts)],
            )
        )


def message_title(alerts: Sequence[Alert]) -> str:
    """Return one bilingual line; a bank that is away for a minute must not ring four hundred times."""
    word, word_zh = _TITLES[max(alert.severity for alert in alerts)]
    times = f" × {len(alerts)}" if len(alerts) > 1 else ""
    return f"[yinqi 银企] {word_zh} {word}: {alerts[0].rule}{times}"


def message_body(alerts: Sequence[Alert]) -> str:
    """Return what people need, Chinese first; the last lines of each let a machine find the alert again."""
    return "\n\n".join(map(_paragraph, alerts))


def _paragraph(alert: Alert) -> str:
    return "\n".join(
        (
            alert.summary_zh,
            alert.summary,
            "",
            f"alert_id: {alert.alert_id}",
            f"subject: {alert.subject}",
            f"raised_at: {alert.raised_at.isoformat(timespec='seconds')}",
        )
    )


def channels_from(setting: str) -> list[AppriseChannel]:
    """Read YINQI_ALERT_URLS: URLs separated by blanks or commas, each with an optional `SEVERITY|` in front.

    Raises:
        AlertUrlInvalid: an entry is wrong; its place is named.
    """
    entries = [entry for entry in _SEPARATOR.split(setting.strip().strip(",").strip()) if entry]
    return [_channel(entry, position) for position, entry in enumerate(entries, start=1)]


def _channel(entry: str, position: int) -> AppriseChannel:
    word, bar, url = entry.partition("|")
    if not bar or "://" in word:
        return AppriseChannel(entry, Severity.INFO, position)
    try:
        severity_min = Severity[word.upper()]
    except KeyError:
        raise AlertUrlInvalid(
            "ALERT_URL_INVALID",
            f"YINQI_ALERT_URLS: entry {position} begins with {word!r}; allowed are INFO, WARNING and CRITICAL.",
            f"YINQI_ALERT_URLS 第 {position} 项的级别无效，应为 INFO、WARNING 或 CRITICAL。",
        ) from None
    return AppriseChannel(url, severity_min, position)

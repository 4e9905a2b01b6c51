"""What the use cases need from outside. No money moves anywhere behind these ports."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from yinqi.monitoring.model import (
    ActivityBucket,
    Alert,
    AlertFilter,
    AlertKey,
    PendingDelivery,
    Screening,
    Severity,
    StoredScreening,
    UnknownPayment,
)


class ScreeningStore(Protocol):
    """Verdicts that were given, and how often a creditor was paid the same."""

    def find(self, instruction_ids: Collection[str]) -> Mapping[str, StoredScreening]:
        """Return the verdicts given before, by instruction_id."""
        ...

    def count_repeats(self, increments: Mapping[str, int]) -> Mapping[str, int]:
        """Add to the counter of each repeat key; return what each counter was before."""
        ...

    def add(self, screenings: Sequence[tuple[Screening, str]], screened_at: datetime) -> None:
        """Store new verdicts with the digests of their subjects. A verdict given meanwhile makes the call run again."""
        ...


class AlertStore(Protocol):
    """Alerts with their journal; every change appends its event in the same transaction."""

    def raise_once(self, alerts: Sequence[Alert]) -> int:
        """Store alerts whose (rule, subject) is new, with their events; return how many were."""
        ...

    def close(self, keys: Collection[AlertKey], at: datetime) -> int:
        """Close alerts that are not closed yet; unknown keys do nothing. Return how many were closed."""
        ...

    def get(self, alert_id: str) -> Alert | None:
        """Return the alert, locked until the transaction ends."""
        ...

    def acknowledge(self, alert: Alert) -> None:
        """Store status, person, time and note of an acknowledged alert, with its event."""
        ...

    def list_newest(self, wanted: AlertFilter, limit: int) -> list[Alert]:
        """Return up to `limit` alerts, newest first."""
        ...

    def claim_deliveries(self, now: datetime, lease_until: datetime, limit: int) -> list[PendingDelivery]:
        """Take alerts whose next attempt is due; count the attempt and keep other replicas out until the lease ends."""
        ...

    def record_delivery(
        self, alert_id: str, confirmed: Collection[str], at: datetime, next_attempt_at: datetime
    ) -> None:
        """Remember the channels that took the alert and when to try the others."""
        ...

    def finish_delivery(self, alert_id: str, confirmed: Collection[str], at: datetime) -> None:
        """Record that every channel has the alert, with its event."""
        ...

    def drop_delivery(self, alert_ids: Collection[str]) -> None:
        """Stop trying: no configured channel wants these alerts."""
        ...


class WatchStore(Protocol):
    """What is kept from the payment feed."""

    def forget_unknown(self, instruction_ids: Collection[str]) -> None:
        """Remove payments that are UNKNOWN no longer."""
        ...

    def add_unknown(self, payments: Sequence[UnknownPayment]) -> None:
        """Add payments that are UNKNOWN; one already there keeps its time."""
        ...

    def take_unknown_since(self, before: datetime, limit: int) -> list[UnknownPayment]:
        """Return payments UNKNOWN since before the instant that were not returned earlier, oldest first, and mark them."""
        ...

    def add_activity(self, buckets: Sequence[ActivityBucket]) -> None:
        """Add to the counters of the buckets."""
        ...

    def list_activity(self, from_s: int) -> list[ActivityBucket]:
        """Return the buckets that start at or after `from_s` (seconds since 1970), ascending."""
        ...

    def prune_activity(self, before_s: int) -> None:
        """Delete buckets that start before `before_s`."""
        ...


class Store(Protocol):
    """All of it, inside one transaction."""

    @property
    def screenings(self) -> ScreeningStore: ...
    @property
    def alerts(self) -> AlertStore: ...
    @property
    def watch(self) -> WatchStore: ...


class Channel(Protocol):
    """One way to reach people.

    Attributes:
        key: stable and not secret; remembers who has an alert across restarts.
        severity_min: alerts below it are not for this channel.
    """

    @property
    def key(self) -> str: ...
    @property
    def severity_min(self) -> Severity: ...

    def send(self, alerts: Sequence[Alert]) -> bool:
        """Deliver alerts of one rule in one message; blocking, so never in the event loop.

        Returns:
            Whether the other end confirmed it. False or an exception: it may or may not have arrived; all of its
            alerts will be sent again (at least once).
        """
        ...

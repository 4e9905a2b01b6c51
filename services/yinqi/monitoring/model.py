"""What monitoring knows: subjects and verdicts of screening, alerts, and the facts it keeps from the feeds."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import datetime

from yinqi.kernel.money import Money

NOTE_LENGTH_MAX = 500


class Verdict(enum.IntEnum):
    """May a payment go on."""

    PASS = 1
    BLOCK = 2


class Severity(enum.IntEnum):
    """How bad; the numbers order them."""

    INFO = 1
    WARNING = 2
    CRITICAL = 3


class AlertStatus(enum.IntEnum):
    """The life of an alert: OPEN → ACKNOWLEDGED → CLOSED, or OPEN → CLOSED."""

    OPEN = 1
    ACKNOWLEDGED = 2
    CLOSED = 3


class AlertEventType(enum.StrEnum):
    """What happened to an alert."""

    RAISED = "alert.raised"
    ACKNOWLEDGED = "alert.acknowledged"
    CLOSED = "alert.closed"
    DELIVERED = "alert.delivered"


class ActivityKind(enum.StrEnum):
    """What is counted for the throughput chart."""

    RECEIVED = "received"
    SETTLED = "settled"


@dataclass(frozen=True, slots=True)
class ScreeningSubject:
    """A payment to screen.

    Attributes:
        execution_date: ISO 8601 date asked for; empty means at once.
        traceparent: of the payment's own trace; may be empty.
    """

    instruction_id: str
    end_to_end_id: str
    debtor_account: str
    creditor_account: str
    creditor_name: str
    amount: Money
    execution_date: str = ""
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class Screening:
    """What the rules say of one payment; `rule` and the descriptions are empty when it passed."""

    instruction_id: str
    verdict: Verdict
    rule: str = ""
    description: str = ""
    description_zh: str = ""


@dataclass(frozen=True, slots=True)
class StoredScreening:
    """A verdict given before, with the digest of what it was given on."""

    screening: Screening
    digest: str


@dataclass(frozen=True, slots=True)
class AlertCause:
    """Why people must know something. One alert per (rule, subject), however often the cause repeats.

    Attributes:
        subject: an instruction_id, a break_id or an entry's reference.
        summary, summary_zh: sentences without personal data.
    """

    rule: str
    severity: Severity
    subject: str
    summary: str
    summary_zh: str
    traceparent: str = ""


AlertKey = tuple[str, str]
"""(rule, subject)"""


@dataclass(frozen=True, slots=True)
class Alert:
    """Something a person must know."""

    alert_id: str
    rule: str
    severity: Severity
    status: AlertStatus
    subject: str
    summary: str
    summary_zh: str
    raised_at: datetime
    acknowledged_by: str = ""
    acknowledged_at: datetime | None = None
    delivered_at: datetime | None = None
    delivery_attempts: int = 0
    traceparent: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class AlertEvent:
    """One move in an alert's life, with the alert as it stands now."""

    sequence: int
    type: AlertEventType
    occurred_at: datetime
    alert: Alert


@dataclass(frozen=True, slots=True)
class AlertFilter:
    """Which alerts; empty fields do not filter. `before` is the place after which a page begins."""

    status: AlertStatus | None = None
    subject: str = ""
    before: tuple[datetime, str] | None = None


@dataclass(frozen=True, slots=True)
class PaymentChange:
    """One event of the payment feed. `status` is the contract's word without prefix, e.g. "SETTLED"."""

    instruction_id: str
    end_to_end_id: str
    status: str
    occurred_at: datetime
    amount: Money
    reason_code: str = ""
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class BreakChange:
    """One break event of the reconciliation feed."""

    type: str
    break_id: str
    reason: str
    account: str
    date: str
    amount: Money
    is_debit: bool


@dataclass(frozen=True, slots=True)
class StatementChecked:
    """One completed run of the reconciliation feed: is the day's statement complete by its own balances."""

    account: str
    date: str
    is_complete: bool


ReconciliationChange = BreakChange | StatementChecked


@dataclass(frozen=True, slots=True)
class EntrySeen:
    """One statement entry of the account feed."""

    account: str
    account_servicer_reference: str
    instruction_id: str
    amount: Money
    booking_date: str
    is_reversal: bool
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class UnknownPayment:
    """A payment nobody can say anything of, and since when."""

    instruction_id: str
    end_to_end_id: str
    amount: Money
    since: datetime
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class Effects:
    """What a batch of events means for the alerts, in any order."""

    raised: list[AlertCause] = field(default_factory=list)
    closed: list[AlertKey] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ActivityBucket:
    """How many payments of one kind fell into `ACTIVITY_BUCKET_S` seconds from `start_s` (seconds since 1970)."""

    start_s: int
    kind: ActivityKind
    count: int


ACTIVITY_BUCKET_S = 5


@dataclass(frozen=True, slots=True)
class PendingDelivery:
    """An alert some channels do not have yet; `confirmed` are the channels that do."""

    alert: Alert
    confirmed: frozenset[str]


@dataclass(frozen=True, slots=True)
class NoticeRefused:
    """Something claimed to be a bank's notice and was not believed, or somebody asked the gateway for what he may not.

    Attributes:
        archive_id: its bytes at the gateway.
        number: whom it is about: a payment at the last door, a caller that was refused. Empty for strangers' notices.
    """

    bank_profile: str
    reason: str
    archive_id: str
    occurred_at: datetime
    number: str = ""


@dataclass(frozen=True, slots=True)
class StopSeen:
    """People stopped payments, or let them go again.

    Attributes:
        kind: HOUSE, BANK, COMPANY or ACCOUNT. name: of the bank, the company, or the account's number.
        pulled_by, reason: who stopped it and why. lifted_by: the two who lifted it; empty while it is in force.
    """

    stop_id: str
    kind: str
    name: str
    pulled_by: str
    reason: str
    lifted_by: tuple[str, ...] = ()

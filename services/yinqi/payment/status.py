"""The life of a payment as one table: which event moves which status where. A missing row is a forbidden move."""

from __future__ import annotations

from enum import StrEnum

from yinqi.kernel.errors import FailedPrecondition


class PaymentStatus(StrEnum):
    """Where a payment is in its life; the names are the API's."""

    RECEIVED = "RECEIVED"
    SCREENED = "SCREENED"
    AWAITING_APPROVAL = "AWAITING_APPROVAL"
    APPROVED = "APPROVED"
    SCHEDULED = "SCHEDULED"
    SUBMITTING = "SUBMITTING"
    PROCESSING = "PROCESSING"
    UNKNOWN = "UNKNOWN"
    SETTLED = "SETTLED"
    REJECTED = "REJECTED"
    RETURNED = "RETURNED"
    CANCELLED = "CANCELLED"
    BLOCKED = "BLOCKED"
    EXPIRED = "EXPIRED"


class StatusEvent(StrEnum):
    """What can happen to a payment.

    `BANK_…` are explicit words of the bank, verified by the gateway; `DECLARED_…` are decisions of two people on a
    payment that is in their queue (`doubts.py`).
    """

    SCREENING_PASSED = "SCREENING_PASSED"
    SCREENING_BLOCKED = "SCREENING_BLOCKED"
    # A policy wants signatures; without one a screened payment goes on as it is.
    APPROVAL_ASKED = "APPROVAL_ASKED"
    APPROVAL_GIVEN = "APPROVAL_GIVEN"
    APPROVAL_DENIED = "APPROVAL_DENIED"
    # Everything is decided but its time: a requested execution date to come.
    SCHEDULE = "SCHEDULE"
    CANCEL = "CANCEL"
    # Its execution window passed before it was released.
    EXPIRE = "EXPIRE"
    # The intention to send is about to be committed.
    RELEASE = "RELEASE"
    # The same again, under a resend permit.
    RESEND = "RESEND"
    # The gateway proves that nothing left our side: of the first attempt, of a later one.
    NOT_SENT = "NOT_SENT"
    RESEND_NOT_SENT = "RESEND_NOT_SENT"
    # No usable answer: time-out, broken connection, a crash of ours between intention and answer.
    NO_ANSWER = "NO_ANSWER"
    # The bank itself says that it does not know (可疑).
    BANK_SUSPICIOUS = "BANK_SUSPICIOUS"
    BANK_PROCESSING = "BANK_PROCESSING"
    BANK_SETTLED = "BANK_SETTLED"
    BANK_REJECTED = "BANK_REJECTED"
    BANK_RETURNED = "BANK_RETURNED"
    DECLARED_SETTLED = "DECLARED_SETTLED"
    DECLARED_FAILED = "DECLARED_FAILED"


_S = PaymentStatus
_E = StatusEvent

# Nothing was ever sent. `RELEASABLE` are those among them that may go out once they are due.
BEFORE_RELEASE = (_S.RECEIVED, _S.SCREENED, _S.AWAITING_APPROVAL, _S.APPROVED, _S.SCHEDULED)
RELEASABLE = (_S.SCREENED, _S.APPROVED, _S.SCHEDULED)

TRANSITIONS: dict[tuple[PaymentStatus, StatusEvent], PaymentStatus] = {
    (_S.RECEIVED, _E.SCREENING_PASSED): _S.SCREENED,
    (_S.RECEIVED, _E.SCREENING_BLOCKED): _S.BLOCKED,
    (_S.RECEIVED, _E.CANCEL): _S.CANCELLED,
    (_S.RECEIVED, _E.EXPIRE): _S.EXPIRED,
    (_S.SCREENED, _E.APPROVAL_ASKED): _S.AWAITING_APPROVAL,
    (_S.SCREENED, _E.SCHEDULE): _S.SCHEDULED,
    (_S.SCREENED, _E.RELEASE): _S.SUBMITTING,
    (_S.SCREENED, _E.CANCEL): _S.CANCELLED,
    (_S.SCREENED, _E.EXPIRE): _S.EXPIRED,
    (_S.AWAITING_APPROVAL, _E.APPROVAL_GIVEN): _S.APPROVED,
    (_S.AWAITING_APPROVAL, _E.APPROVAL_DENIED): _S.CANCELLED,
    (_S.AWAITING_APPROVAL, _E.CANCEL): _S.CANCELLED,
    (_S.AWAITING_APPROVAL, _E.EXPIRE): _S.EXPIRED,
    (_S.APPROVED, _E.SCHEDULE): _S.SCHEDULED,
    (_S.APPROVED, _E.RELEASE): _S.SUBMITTING,
    (_S.APPROVED, _E.CANCEL): _S.CANCELLED,
    (_S.APPROVED, _E.EXPIRE): _S.EXPIRED,
    (_S.SCHEDULED, _E.RELEASE): _S.SUBMITTING,
    (_S.SCHEDULED, _E.CANCEL): _S.CANCELLED,
    (_S.SCHEDULED, _E.EXPIRE): _S.EXPIRED,
    # Nothing left: all that was decided still holds, it waits for its next time and asks nobody again.
    (_S.SUBMITTING, _E.NOT_SENT): _S.SCHEDULED,
    (_S.SUBMITTING, _E.RESEND_NOT_SENT): _S.UNKNOWN,
    (_S.SUBMITTING, _E.NO_ANSWER): _S.UNKNOWN,
    (_S.SUBMITTING, _E.BANK_SUSPICIOUS): _S.UNKNOWN,
    (_S.SUBMITTING, _E.BANK_PROCESSING): _S.PROCESSING,
    (_S.SUBMITTING, _E.BANK_SETTLED): _S.SETTLED,
    (_S.SUBMITTING, _E.BANK_REJECTED): _S.REJECTED,
    # A bank that had the payment and now answers nothing useful: still the bank's, so still PROCESSING.
    (_S.PROCESSING, _E.NO_ANSWER): _S.PROCESSING,
    (_S.PROCESSING, _E.BANK_SUSPICIOUS): _S.UNKNOWN,
    (_S.PROCESSING, _E.BANK_PROCESSING): _S.PROCESSING,
    (_S.PROCESSING, _E.BANK_SETTLED): _S.SETTLED,
    (_S.PROCESSING, _E.BANK_REJECTED): _S.REJECTED,
    # UNKNOWN is left by an explicit word of the bank, by the gateway's record that nothing left, with a resend permit, or
    # by two people's decision on documents.
    # The gateway's record that nothing left is a word of ours and final, also when it is heard by asking only.
    (_S.UNKNOWN, _E.NOT_SENT): _S.SCHEDULED,
    (_S.UNKNOWN, _E.RESEND_NOT_SENT): _S.UNKNOWN,
    (_S.UNKNOWN, _E.NO_ANSWER): _S.UNKNOWN,
    (_S.UNKNOWN, _E.BANK_SUSPICIOUS): _S.UNKNOWN,
    (_S.UNKNOWN, _E.BANK_PROCESSING): _S.PROCESSING,
    (_S.UNKNOWN, _E.BANK_SETTLED): _S.SETTLED,
    (_S.UNKNOWN, _E.BANK_REJECTED): _S.REJECTED,
    (_S.UNKNOWN, _E.RESEND): _S.SUBMITTING,
    # Money that left may come back the same evening or days later (退汇).
    (_S.SETTLED, _E.BANK_RETURNED): _S.RETURNED,
    # Words that come late or again change nothing.
    (_S.SETTLED, _E.BANK_SETTLED): _S.SETTLED,
    (_S.SETTLED, _E.BANK_PROCESSING): _S.SETTLED,
    (_S.SETTLED, _E.NO_ANSWER): _S.SETTLED,
    (_S.SETTLED, _E.BANK_SUSPICIOUS): _S.SETTLED,
    (_S.REJECTED, _E.BANK_REJECTED): _S.REJECTED,
    (_S.REJECTED, _E.BANK_PROCESSING): _S.REJECTED,
    (_S.REJECTED, _E.NO_ANSWER): _S.REJECTED,
    (_S.REJECTED, _E.BANK_SUSPICIOUS): _S.REJECTED,
    (_S.RETURNED, _E.BANK_RETURNED): _S.RETURNED,
    (_S.RETURNED, _E.BANK_SETTLED): _S.RETURNED,
    (_S.RETURNED, _E.BANK_PROCESSING): _S.RETURNED,
    (_S.RETURNED, _E.NO_ANSWER): _S.RETURNED,
    (_S.RETURNED, _E.BANK_SUSPICIOUS): _S.RETURNED,
    (_S.CANCELLED, _E.CANCEL): _S.CANCELLED,
    # What two people may declare of a payment in their queue. SUBMITTING is not there: its call has an end.
    **{
        (status, _E.DECLARED_SETTLED): _S.SETTLED
        for status in PaymentStatus
        if status not in (_S.SUBMITTING, _S.RETURNED)
    },
    **{(status, _E.DECLARED_FAILED): _S.REJECTED for status in (*BEFORE_RELEASE, _S.PROCESSING, _S.UNKNOWN)},
    # The books have paid it: their way back is a return.
    (_S.SETTLED, _E.DECLARED_FAILED): _S.RETURNED,
    # The contradiction is looked at, the status stands.
    **{
        (status, _E.DECLARED_FAILED): status
        for status in (_S.REJECTED, _S.RETURNED, _S.CANCELLED, _S.BLOCKED, _S.EXPIRED)
    },
}

# No step of ours moves these any more: only the bank's word that money came back, or two people after a contradiction.
FINAL = frozenset({_S.SETTLED, _S.REJECTED, _S.RETURNED, _S.CANCELLED, _S.BLOCKED, _S.EXPIRED})
# The intention to send was committed and the end is not known: money may have moved.
IN_FLIGHT = frozenset({_S.SUBMITTING, _S.PROCESSING, _S.UNKNOWN})


class InvalidTransition(FailedPrecondition):
    """The payment cannot take that event in its present status."""


def can_advance(status: PaymentStatus, event: StatusEvent) -> bool:
    """Return whether the table has the row."""
    return (status, event) in TRANSITIONS


def advance(status: PaymentStatus, event: StatusEvent) -> PaymentStatus:
    """Return the status after the event; the table above is the whole rule.

    Raises:
        InvalidTransition: the table has no such row.
    """
    try:
        return TRANSITIONS[status, event]
    except KeyError:
        raise InvalidTransition(
            "INVALID_TRANSITION",
            f"A payment that is {status} cannot take {event}.",
            f"状态为 {status} 的付款不能执行 {event}。",
            metadata={"status": str(status), "event": str(event)},
        ) from None

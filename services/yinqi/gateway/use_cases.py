"""What the gateway writes down, one transaction per function: before the first byte leaves, and after an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from yinqi.gateway.decisions import blocks, is_news, may_have_left, notice_refusal, notice_report, require_proof
from yinqi.gateway.model import (
    Absence,
    ArchivedMessage,
    Attempt,
    BankAccount,
    LineAnswer,
    Notice,
    NoticeEvent,
    PaymentRecord,
    SendState,
    Submission,
)
from yinqi.gateway.ports import Store
from yinqi.gateway.profile import Profiles
from yinqi.gateway.status import BankStatus
from yinqi.gateway.stops import (
    STOP_NOTICE,
    STOPPED,
    Scope,
    ScopeKind,
    Stop,
    StopChange,
    StopEventType,
    Word,
    held_words,
    lift,
    pull,
    stop_of,
)
from yinqi.kernel.errors import FailedPrecondition, NotFound


class ClaimLost(Exception):
    """Some lines were claimed by another call in the meantime; nothing was recorded. Leave them out and try again."""

    def __init__(self, instruction_ids: frozenset[str]) -> None:
        super().__init__(f"{len(instruction_ids)} lines were claimed elsewhere")
        self.instruction_ids = instruction_ids


class Stopped(FailedPrecondition):
    """A stop holds these payments back; nothing was recorded and nothing was sent."""

    def __init__(self, stop: Stop) -> None:
        super().__init__(STOPPED, held_words(stop))


@dataclass(frozen=True, slots=True)
class Standing:
    """How submissions stand before anything is sent.

    Attributes:
        blocked: payments that must not be sent: this attempt, or a later one, may already have left.
        counts: attempts on record per payment, so that a claim can see whether one came in between.
        stops: in force at that moment; a claim looks again.
        altered: those blocked that ask for something else than what is on record under their instruction_id.
    """

    blocked: frozenset[str]
    counts: Mapping[str, int]
    stops: Sequence[Stop] = ()
    altered: frozenset[str] = frozenset()


def examine_submissions(submissions: Sequence[Submission], profiles: Profiles, store: Store) -> Standing:
    """Return which submissions may be sent.

    Raises:
        ResendRefused: an attempt after the first lacks recorded evidence. Nothing was sent.
    """
    earlier = store.registry.find(list({submission.instruction_id for submission in submissions}))
    blocked = frozenset(
        submission.instruction_id
        for submission in submissions
        if blocks(earlier.get(submission.instruction_id, ()), submission.attempt, submission.release)
    )
    again = [one for one in submissions if one.attempt > 1 and one.instruction_id not in blocked]
    keys = [(one.instruction_id, one.resend_proof.archive_id) for one in again if one.resend_proof is not None]
    absences = store.archive.find_absences(keys)
    for submission in again:
        account = profiles.account(submission.instruction.debtor_account)
        if account is None:
            continue  # cannot be sent at all
        profile = profiles.profile(account.profile)
        proof = submission.resend_proof
        require_proof(
            submission,
            earlier.get(submission.instruction_id, ()),
            absences.get((submission.instruction_id, proof.archive_id)) if proof is not None else None,
            timedelta(milliseconds=profile.in_doubt.safe_window_ms),
            timedelta(milliseconds=profile.last_byte_ms),
            may_reuse=profile.in_doubt.reference_reuse != "never",
        )
    counts = {instruction_id: len(its) for instruction_id, its in earlier.items()}
    altered = frozenset(
        one.instruction_id
        for one in submissions
        if one.instruction_id in blocked
        and all(other.content_digest != one.instruction.digest() for other in earlier[one.instruction_id])
    )
    return Standing(blocked, counts, store.stops.active(), altered)


def claim_submissions(
    attempts: Sequence[Attempt], counts: Mapping[str, int], message: ArchivedMessage, store: Store
) -> None:
    """Record that these lines are about to be sent, with the bytes. Committed before the first byte leaves.

    Args:
        counts: attempts on record when the submissions were examined.
    Raises:
        ClaimLost: nothing was recorded.
    """
    earlier = store.registry.find([attempt.instruction_id for attempt in attempts])
    lost = frozenset(
        attempt.instruction_id
        for attempt in attempts
        if blocks(its := earlier.get(attempt.instruction_id, ()), attempt.attempt, attempt.release)
        or len(its) != counts.get(attempt.instruction_id, 0)
    )
    if lost:
        raise ClaimLost(lost)
    store.registry.claim(attempts)
    store.archive.add(message)


def require_running(account: BankAccount, store: Store) -> None:
    """Return if no stop holds payments from the account back. Called in the transaction that claims their attempts.

    Raises:
        Stopped: one does.
    """
    if (stop := stop_of(account, store.stops.active())) is not None:
        raise Stopped(stop)


def void_submissions(attempts: Sequence[Attempt], store: Store) -> frozenset[str]:
    """Record that these attempts will never be sent; return the payments for which another call was faster.

    Only when this is committed may a caller hear NOT_SENT: it cancels or releases anew on that word, while a second
    delivery of its call may still be on the way.
    """
    earlier = store.registry.find([attempt.instruction_id for attempt in attempts])
    left: set[str] = set()
    voided: list[Attempt] = []
    for attempt in attempts:
        its = earlier.get(attempt.instruction_id, ())
        if may_have_left(its, attempt.attempt):
            left.add(attempt.instruction_id)
        elif not blocks(its, attempt.attempt, attempt.release):
            voided.append(attempt)
    if voided:
        store.registry.claim(voided)
    return frozenset(left)


def record_submission_answer(
    exchange_id: str, answers: Mapping[str, LineAnswer], received: ArchivedMessage, at: datetime, store: Store
) -> None:
    """Record the bank's verified word on each line of a submission."""
    store.archive.add(received)
    store.registry.end_exchange(exchange_id, SendState.ACCEPTED, at)
    others = {
        instruction_id: _SEND_STATES[answer.status]
        for instruction_id, answer in answers.items()
        if answer.status is not BankStatus.PROCESSING
    }
    if others:
        store.registry.end_lines(exchange_id, others, at)


_SEND_STATES: Mapping[BankStatus, SendState] = {
    BankStatus.PROCESSING: SendState.ACCEPTED,
    BankStatus.REJECTED: SendState.REFUSED,
    BankStatus.UNKNOWN: SendState.IN_DOUBT,
}


def record_submission_failure(
    exchange_id: str, state: SendState, received: ArchivedMessage, at: datetime, store: Store
) -> None:
    """Record that a submission got no usable answer (IN_DOUBT) or never left (NOT_SENT)."""
    store.archive.add(received)
    store.registry.end_exchange(exchange_id, state, at)


def record_request(message: ArchivedMessage, instruction_ids: Sequence[str], store: Store) -> None:
    """Record a query about to be sent, and which payments it asks for."""
    store.archive.add(message)
    store.archive.link(message.exchange_id, instruction_ids)


def record_answer(received: ArchivedMessage, store: Store) -> None:
    """Record what came back from a query."""
    store.archive.add(received)


def record_findings(
    received: ArchivedMessage, known: Sequence[str], absences: Sequence[Absence], at: datetime, store: Store
) -> None:
    """Record the answer to a status query: which payments the bank showed, which it lacked."""
    store.archive.add(received)
    store.registry.mark_known(known, at)
    store.archive.add_absences(absences)


REFUSALS_PER_MINUTE_MAX = 60


def take_notice(notice: Notice, message: ArchivedMessage, store: Store) -> str:
    """Record a verified notice and what it means; return why it was refused, "" if it was taken or known.

    A repetition changes nothing. The same number with other content, and the very same bytes sent again, are alerts.
    """
    seen = store.notices.find(message.profile, notice.number)
    if seen is None:
        store.notices.add(message.profile, notice, message.recorded_at)
        _record_notice(notice, message, store)
        return ""
    if seen.content_digest != notice.content_digest:
        return refuse_notice("CONTENT_DIFFERS", message, store, notice)
    if notice.signature_digest in seen.signature_digests:
        refuse_notice("REPLAYED", message, store, notice)  # We know what it says, so the sender may rest.
        return ""
    store.notices.add_signature(message.profile, notice, message.recorded_at)
    return ""


def refuse_notice(reason: str, message: ArchivedMessage, store: Store, notice: Notice | None = None) -> str:
    """Record that something claimed to be a notice; return the reason. A flood is counted, not kept."""
    at = message.recorded_at
    if store.notices.refusals_since(at - timedelta(minutes=1)) >= REFUSALS_PER_MINUTE_MAX:
        return reason
    store.archive.add(message)
    number, kind = ("", "") if notice is None else (notice.number, notice.type)
    store.notices.append([NoticeEvent(message.profile, message.archive_id, at, number, kind, reason)])
    return reason


def alarm_of_answer(received: ArchivedMessage, store: Store) -> None:
    """Tell that an answer came under a key of the bank that is retired. A flood is counted, not told."""
    at = received.recorded_at
    if store.notices.refusals_since(at - timedelta(minutes=1)) < REFUSALS_PER_MINUTE_MAX:
        store.notices.append([NoticeEvent(received.profile, received.archive_id, at, "", "KEYS", received.failure)])


def _record_notice(notice: Notice, message: ArchivedMessage, store: Store) -> None:
    instruction_ids = list(dict.fromkeys(record.instruction_id for record in notice.records))
    attempts = store.registry.find(instruction_ids)
    store.archive.add(message)
    store.archive.link(message.exchange_id, [one for one in instruction_ids if one in attempts])
    newest = store.notices.newest(instruction_ids)
    at, changed = message.recorded_at, dict[str, PaymentRecord]()
    events: list[NoticeEvent] = []
    for record in notice.records:
        its = attempts.get(record.instruction_id, ())
        event = NoticeEvent(message.profile, message.archive_id, at, notice.number, notice.type)
        if refusal := notice_refusal(record, its):
            events.append(replace(event, refusal=refusal))
        elif is_news(record, newest.get(record.instruction_id)):
            newest[record.instruction_id] = changed[record.instruction_id] = record
            report = notice_report(record, its, message.archive_id, at)
            events += [replace(event, report=report)] if report is not None else []
    store.notices.set_newest(list(changed.values()))
    store.notices.append(events)


# --- stops ----------------------------------------------------------------------------------------------------------


def pull_stop(scope: Scope, word: Word, stop_id: str, store: Store) -> StopChange:
    """Stop a scope by one person's word; in force with the commit. Repeating it is harmless (see `stops.pull`)."""
    change = pull(store.stops.lock_active(scope), scope, word, stop_id)
    return _changed(change, word, store)


def lift_stop(stop_id: str, word: Word, store: Store) -> StopChange:
    """Write down a person's word for lifting a stop; the second person's lifts it (see `stops.lift`).

    Raises:
        NotFound: there is no such stop.
    """
    # PostgreSQL takes no NUL for text; an id of ours has letters and digits only.
    stop = store.stops.find([stop_id], lock=True).get(stop_id) if stop_id.isalnum() else None
    if stop is None:
        raise NotFound(
            "STOP_NOT_FOUND",
            "There is no stop with that id; nothing was lifted. See `yinqi stop list`.",
            "没有该编号的止付，未解除任何止付，请查看 `yinqi stop list`。",
        )
    return _changed(lift(stop, word), word, store)


_TOLD = {StopEventType.PULLED: "STOP_PULLED", StopEventType.LIFTED: "STOP_LIFTED"}


def _changed(change: StopChange, word: Word, store: Store) -> StopChange:
    """Keep the change, and tell those who follow the notices: monitoring raises alerts, payment sends what was held."""
    store.stops.save(change, word)
    if change.type in _TOLD:
        scope = change.stop.scope
        profile = scope.name if scope.kind is ScopeKind.BANK else "-"
        told = NoticeEvent(profile, "", word.at, change.stop.stop_id, STOP_NOTICE, _TOLD[change.type])
        store.notices.append([told])
    return change

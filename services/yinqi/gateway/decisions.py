"""The gateway's own rules, as functions of values: may a line be sent, what does an answer mean, what is proof."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from yinqi.gateway.model import (
    PERMISSION_CONTROL,
    Absence,
    Attempt,
    KnownReference,
    NotFoundProof,
    PaymentRecord,
    PaymentReference,
    SendState,
    StatusReport,
    Submission,
)
from yinqi.gateway.status import FINAL, BankStatus
from yinqi.kernel.errors import FailedPrecondition

ALREADY_SUBMITTED = "ALREADY_SUBMITTED"


class ResendRefused(FailedPrecondition):
    """The evidence for another attempt does not hold. Nothing of the call was sent. Query again; never resend."""


def blocks(earlier: Iterable[Attempt], attempt: int, release: int = 0) -> bool:
    """Return whether attempt number `attempt` must not be sent.

    It, or a later one, may already have left; or this very release of it was once called NOT_SENT: the caller acts on
    that word, and a second delivery of the same call must not prove it wrong.
    """
    return any(
        other.attempt > attempt
        or (other.attempt == attempt and (_may_have_left(other) or 0 < release <= other.release))
        for other in earlier
    )


def may_have_left(earlier: Iterable[Attempt], attempt: int) -> bool:
    """Return whether attempt number `attempt`, or a later one, may have left, so that nobody may call it NOT_SENT."""
    return any(other.attempt > attempt or (other.attempt == attempt and _may_have_left(other)) for other in earlier)


def is_written_off(earlier: Sequence[Attempt], attempt: int, release: int) -> bool:
    """Return whether the record proves that attempt number `attempt` never left under `release`, and never will.

    The record of that release, or of a later one: `blocks` refuses it from then on, so the word stays true however late
    it is heard. No record proves nothing: the call may still be on its way here, or the registry be an older one (a
    restored backup); an older release proves nothing for the same reason. Nor does a record that the bank contradicts.
    """
    return (
        not may_have_left(earlier, attempt)
        and all(other.known_at is None for other in earlier)
        and any(other.attempt == attempt and 0 < release <= other.release for other in earlier)
    )


def require_proof(
    submission: Submission,
    earlier: Sequence[Attempt],
    absence: Absence | None,
    safe_window: timedelta,
    last_byte_after: timedelta,
    *,
    may_reuse: bool = True,
) -> None:
    """Return if a second or later attempt stands on recorded evidence.

    The caller's proof only names a finding; what counts is what this gateway wrote down itself.

    Args:
        earlier: all attempts of this payment on record.
        absence: the finding that the proof names, if it is on record and the answer was verified.
        last_byte_after: how long after its record a message may still have left, for attempts that ended in a crash.
        may_reuse: whether the bank takes a reference again after a final refusal.
    Raises:
        ResendRefused: names what is missing.
    """
    problem = _proof_problem(submission, earlier, absence, safe_window, last_byte_after)
    if not may_reuse and any(other.state is SendState.REFUSED for other in earlier):
        problem = "this bank refused it and takes no reference a second time"
    if problem:
        raise ResendRefused(
            "RESEND_PROOF_INSUFFICIENT",
            f"{submission.instruction_id}, attempt {submission.attempt}: {problem}. Nothing was sent; query it again.",
            f"{submission.instruction_id} 第 {submission.attempt} 次提交的查无证明不足，未发送；请重新查询。",
            metadata={"instruction_id": submission.instruction_id},
        )


def _proof_problem(
    submission: Submission,
    earlier: Sequence[Attempt],
    absence: Absence | None,
    safe_window: timedelta,
    last_byte_after: timedelta,
) -> str:
    proof = submission.resend_proof
    if proof is None:
        return "resend_proof is missing"
    if not proof.control_seen or absence is None or not absence.control_seen:
        return "no verified answer on record lacks this payment while showing that the query could see"
    digest = submission.instruction.digest()
    if any(other.content_digest != digest for other in earlier):
        return "the order differs from the one sent before"
    if any(other.known_at is not None for other in earlier):
        return "the bank has shown that it has this payment"
    last_left = max((_last_byte_at(other, last_byte_after) for other in earlier if _may_have_left(other)), default=None)
    if last_left is not None and absence.queried_at < last_left + safe_window:
        return f"the query left less than {safe_window.total_seconds():g} s after the last send"
    return ""


def _may_have_left(attempt: Attempt) -> bool:
    return attempt.state is not SendState.NOT_SENT


def _last_byte_at(attempt: Attempt, last_byte_after: timedelta) -> datetime:
    latest = attempt.claimed_at + last_byte_after
    return latest if attempt.ended_at is None else min(attempt.ended_at, latest)


@dataclass(frozen=True, slots=True)
class QueryPlan:
    """One status query.

    Attributes:
        asked: payments that somebody wants to know of. controls: by debtor account, a payment the bank must show.
        first, last: days of receipt at the bank, inclusive.
    """

    asked: Sequence[PaymentReference]
    controls: Mapping[str, KnownReference]
    first: date
    last: date

    @property
    def instruction_ids(self) -> list[str]:
        """All references of the message, each once."""
        controls = (control.instruction_id for control in self.controls.values())
        return list(dict.fromkeys([*(one.instruction_id for one in self.asked), *controls]))


def plan_queries(
    references: Sequence[PaymentReference],
    known: Mapping[str, KnownReference],
    first_sent: Mapping[str, date],
    today: date,
    *,
    references_max: int,
    days_max: int,
) -> list[QueryPlan]:
    """Split references into queries that the bank will answer, with one control per account in each.

    Args:
        known: by debtor account, a payment that the bank is known to have.
        first_sent: day of the first attempt, where the caller does not name one.
        references_max: of one message, controls included. days_max: longest range, both ends counted.
    """

    def begin(reference: PaymentReference) -> date:
        # A day earlier: the bank's day may not be ours. No later than today: a date to come finds nothing.
        sent = reference.submitted_date or first_sent.get(reference.instruction_id) or today - timedelta(days_max // 2)
        return min(sent, today) - timedelta(days=1)

    plans: list[QueryPlan] = []
    chunk: list[PaymentReference] = []
    accounts: set[str] = set()
    for reference in sorted(references, key=begin):
        size = len(chunk) + 1 + len(accounts | {reference.debtor_account})
        too_wide = chunk and begin(reference) - begin(chunk[0]) > timedelta(days=days_max // 2)
        if chunk and (size > references_max or too_wide):
            plans.append(_plan(chunk, known, begin(chunk[0]), days_max))
            chunk, accounts = [], set()
        chunk.append(reference)
        accounts.add(reference.debtor_account)
    if chunk:
        plans.append(_plan(chunk, known, begin(chunk[0]), days_max))
    return plans


def _plan(
    chunk: Sequence[PaymentReference], known: Mapping[str, KnownReference], first: date, days_max: int
) -> QueryPlan:
    accounts = {reference.debtor_account for reference in chunk}
    controls = {account: known[account] for account in sorted(accounts) if account in known}
    first = _reach_back(first, chunk, controls.values(), days_max)
    last = first + timedelta(days=days_max - 1)  # may lie in the future: the bank's business day may be ahead of ours
    return QueryPlan(tuple(chunk), {a: c for a, c in controls.items() if first <= c.since <= last}, first, last)


def _reach_back(
    first: date, chunk: Sequence[PaymentReference], controls: Iterable[KnownReference], days_max: int
) -> date:
    """Begin early enough for the controls, if the range can hold them beside the references."""
    earliest = min((control.since - timedelta(days=1) for control in controls), default=first)
    return earliest if earliest < first and first - earliest <= timedelta(days=days_max // 2 - 1) else first


def conclude(
    plan: QueryPlan,
    records: Sequence[PaymentRecord],
    attempts: Mapping[str, Sequence[Attempt]],
    permitted: frozenset[str],
    *,
    archive_id: str,
    queried_at: Mapping[str, datetime],
    reported_at: datetime,
    safe_window_ms: int,
) -> tuple[list[StatusReport], list[Absence]]:
    """Return one report per reference asked for, in order, and the absences found.

    Args:
        records: everything in the verified answer.
        queried_at: by payment, when it was asked for.
        permitted: accounts of which the bank itself said that we may query them; asked when no control came back.
    """
    found = _by_reference(records)
    seen = _seen_by_account(plan, found)
    reports: list[StatusReport] = []
    absences: dict[str, Absence] = {}
    for reference in plan.asked:
        its_records = found.get(reference.instruction_id)
        if its_records:
            report = _report(reference, its_records, attempts.get(reference.instruction_id, ()), reported_at)
            reports.append(replace(report, archive_id=archive_id))
            continue
        control, control_seen = _control(reference, plan, seen, permitted)
        asked_at = queried_at[reference.instruction_id]
        proof = NotFoundProof(asked_at, archive_id, control, control_seen, safe_window_ms)
        absences[reference.instruction_id] = Absence(
            reference.instruction_id, archive_id, asked_at, control, control_seen
        )
        reports.append(
            StatusReport(
                reference.instruction_id,
                BankStatus.NOT_FOUND,
                reported_at,
                "NOT_FOUND" if control_seen else "NOT_FOUND_UNPROVEN",
                archive_id=archive_id,
                not_found_proof=proof,
            )
        )
    return reports, list(absences.values())


def accounts_without_control(plan: QueryPlan, records: Sequence[PaymentRecord]) -> frozenset[str]:
    """Return the accounts with an absent payment for which nothing in the answer shows that the query can see."""
    found = _by_reference(records)
    seen = _seen_by_account(plan, found)
    absent = {one.debtor_account for one in plan.asked if one.instruction_id not in found}
    return frozenset(account for account in absent if not seen.get(account) and account not in plan.controls)


def _by_reference(records: Sequence[PaymentRecord]) -> dict[str, list[PaymentRecord]]:
    found: dict[str, list[PaymentRecord]] = {}
    for record in records:
        found.setdefault(record.instruction_id, []).append(record)
    return found


def _seen_by_account(plan: QueryPlan, found: Mapping[str, Sequence[PaymentRecord]]) -> dict[str, str]:
    """Return, by account, a reference of it that came back: the control, or else any other payment asked for."""

    def is_seen(instruction_id: str, account: str) -> bool:
        return any(record.debtor_account == account for record in found.get(instruction_id, ()))

    seen: dict[str, str] = {}
    for account, control in plan.controls.items():
        if is_seen(control.instruction_id, account):
            seen[account] = control.instruction_id
    for reference in plan.asked:
        account = reference.debtor_account
        # Without a control that should have been there, others will do; a control that is missing is a warning.
        if account not in plan.controls and is_seen(reference.instruction_id, account):
            seen.setdefault(account, reference.instruction_id)
    return seen


def _control(
    reference: PaymentReference, plan: QueryPlan, seen: Mapping[str, str], permitted: frozenset[str]
) -> tuple[str, bool]:
    account = reference.debtor_account
    if account in seen:
        return seen[account], True
    if account in plan.controls:
        return plan.controls[account].instruction_id, False
    return PERMISSION_CONTROL, account in permitted


def _report(
    reference: PaymentReference,
    records: Sequence[PaymentRecord],
    attempts: Sequence[Attempt],
    reported_at: datetime,
) -> StatusReport:
    """Return what the records of one reference say together; the newest speaks, unless an older one contradicts it."""
    newest = max(records, key=lambda record: (len(record.record_number), record.record_number))
    status, reason = newest.status, newest.reason_code
    if status in FINAL and not _is_the_same(newest, reference, attempts):
        # Somebody else's record under our reference, or a mangled one: believing it would move the wrong money.
        status, reason = BankStatus.UNKNOWN, "RECORD_MISMATCH"
    elif any(record.status is not BankStatus.REJECTED for record in records if record is not newest):
        # A reference may be used again only after a final failure: then all older records are failures.
        status, reason = BankStatus.UNKNOWN, "RECORDS_CONTRADICT"
    return StatusReport(
        instruction_id=reference.instruction_id,
        status=status,
        reported_at=reported_at,
        reason_code=reason,
        proprietary_code=newest.proprietary_code,
        reason_text=newest.reason_text,
        account_servicer_reference=newest.account_servicer_reference,
        booking_date=newest.booking_date if status in (BankStatus.SETTLED, BankStatus.RETURNED) else None,
    )


def _is_the_same(record: PaymentRecord, reference: PaymentReference, attempts: Sequence[Attempt]) -> bool:
    if record.debtor_account != reference.debtor_account:
        return False
    return all(
        record.amount == attempt.amount and record.creditor_account == attempt.creditor_account for attempt in attempts
    )


def paced(report: StatusReport, wait: timedelta) -> StatusReport:
    """Return the report of an open payment with the earliest moment at which the bank wants to be asked."""
    is_open = report.status in (BankStatus.PROCESSING, BankStatus.UNKNOWN, BankStatus.NOT_FOUND)
    return replace(report, ask_after=report.reported_at + wait) if is_open else report


_RANK = {
    BankStatus.PROCESSING: 0,
    BankStatus.UNKNOWN: 1,
    BankStatus.REJECTED: 2,
    BankStatus.SETTLED: 2,
    BankStatus.RETURNED: 3,
}


def is_news(record: PaymentRecord, known: PaymentRecord | None) -> bool:
    """Return whether a notice's record says more than the newest that notices brought; content decides, not arrival.

    A larger record number is newer; under the same number the later state of a payment's life is. Two different ends
    under one number contradict each other: both are told.
    """
    if known is None:
        return True
    numbers = [(len(one.record_number), one.record_number) for one in (record, known)]
    if numbers[0] != numbers[1]:
        return numbers[0] > numbers[1]
    rank, known_rank = _RANK[record.status], _RANK[known.status]
    return rank > known_rank or (rank == known_rank and record.status is not known.status)


def notice_refusal(record: PaymentRecord, attempts: Sequence[Attempt]) -> str:
    """Return why a verified notice's record must not be believed; "" if it may."""
    if not attempts:
        return "PAYMENT_UNKNOWN"
    if record.amount is None or not record.record_number:
        return "RECORD_MALFORMED"
    reference = PaymentReference(record.instruction_id, attempts[0].debtor_account)
    return "" if _is_the_same(record, reference, attempts) else "RECORD_MISMATCH"


def notice_report(
    record: PaymentRecord, attempts: Sequence[Attempt], archive_id: str, at: datetime
) -> StatusReport | None:
    """Return what a notice's record says; None if only a query can tell.

    A refusal says nothing about an attempt sent after it; with several attempts the query decides.
    """
    if record.status is BankStatus.REJECTED and len(attempts) > 1:
        return None
    is_booked = record.status in (BankStatus.SETTLED, BankStatus.RETURNED)
    return StatusReport(
        instruction_id=record.instruction_id,
        status=record.status,
        reported_at=at,
        reason_code=record.reason_code,
        proprietary_code=record.proprietary_code,
        reason_text=record.reason_text,
        account_servicer_reference=record.account_servicer_reference,
        booking_date=record.booking_date if is_booked else None,
        archive_id=archive_id,
    )

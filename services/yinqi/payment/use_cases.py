"""What the payment service does: one function per verb, synchronous, one transaction, batches in and out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time

from yinqi.kernel.clock import BANK_ZONE
from yinqi.kernel.ids import IdSource
from yinqi.payment.approvals import Approver, Standing, asked_moves
from yinqi.payment.decisions import decide_repeat, decide_report
from yinqi.payment.doubts import Doubt, closed, doubted_move, follow_doubt, may_be_in_queue, may_resend
from yinqi.payment.model import (
    NO_REASON,
    BankWord,
    Cancellation,
    CancellationRefused,
    Move,
    NewPayment,
    NotFoundProof,
    Outcome,
    Pacing,
    Payment,
    PaymentMissing,
    Recorded,
    RecordedKey,
    RefusedLine,
    Screening,
    StatusReason,
    StatusReport,
    Submission,
    Withdrawn,
)
from yinqi.payment.ports import PaymentStore
from yinqi.payment.resend import EvidenceInsufficient, ResendPermit, earliest_evidence_at
from yinqi.payment.status import RELEASABLE, PaymentStatus, StatusEvent, advance, can_advance

INSTRUCTION_ID_PREFIX = "PI"


def initiate_payments(
    lines: Sequence[NewPayment | RefusedLine],
    store: PaymentStore,
    *,
    ids: IdSource,
    now: datetime,
    vouch: Callable[[Sequence[NewPayment]], Sequence[NewPayment]] | None = None,
) -> list[Outcome]:
    """Record each payment once.

    Args:
        vouch: binds those that nobody signed to an order of our own; None: there is no policy.

    Returns:
        One outcome per line, in order: `Recorded`, `AlreadyRecorded` (same end_to_end_id and content came before, also
        in this very call; carries the first), `EndToEndIdReused` (same id, other content; nothing was stored for it),
        or the refused line itself.
    """
    wanted = [line.instruction.end_to_end_id for line in lines if isinstance(line, NewPayment)]
    known = dict(store.find_keys(wanted)) if wanted else {}
    new_ids = iter(ids.new_ids(INSTRUCTION_ID_PREFIX, len(wanted)) if wanted else [])
    outcomes: list[Outcome] = []
    added: list[tuple[str, NewPayment]] = []
    for line in lines:
        if isinstance(line, RefusedLine):
            outcomes.append(line)
            continue
        end_to_end_id = line.instruction.end_to_end_id
        earlier = known.get(end_to_end_id)
        if earlier is not None:
            outcomes.append(decide_repeat(line, earlier))
            continue
        instruction_id = next(new_ids)
        known[end_to_end_id] = RecordedKey(end_to_end_id, instruction_id, line.request_hash, now)
        added.append((instruction_id, line))
        outcomes.append(Recorded(instruction_id, now))
    if added:
        signed = vouch([payment for _, payment in added]) if vouch is not None else [payment for _, payment in added]
        store.add([(key, payment) for (key, _), payment in zip(added, signed, strict=True)], now)
    return outcomes  # The caller's transaction commits; a unique index settles a race, the loser runs again.


def claim_for_screening(store: PaymentStore, *, now: datetime, limit: int, pacing: Pacing) -> list[Payment]:
    """Return payments to screen, held until the lease ends. `step_tries` is 0 for those never claimed before."""
    due = store.claim_due([PaymentStatus.RECEIVED], now, limit)
    store.postpone(due, now + pacing.lease)
    return due


def release_claims(payments: Sequence[Payment], store: PaymentStore, *, now: datetime, pacing: Pacing) -> None:
    """Give claimed payments back after a step that came to nothing; they are due again after a pause."""
    locked = store.lock([payment.instruction_id for payment in payments])
    unchanged = [p for payment in payments if (p := locked.get(payment.instruction_id)) and p.status is payment.status]
    tries = max((payment.step_tries for payment in unchanged), default=1)
    store.postpone(unchanged, now + pacing.screening_delay(tries), step_tries=tries)


def record_screenings(
    screenings: Sequence[Screening],
    store: PaymentStore,
    *,
    now: datetime,
    actor: str,
    approver: Approver | None = None,
    pacing: Pacing | None = None,
) -> list[Payment]:
    """Move screened payments to SCREENED, on to SCHEDULED if their day is to come, or to BLOCKED; return those that moved.

    Verdicts on payments that moved on meanwhile (cancelled, screened by another worker) change nothing.

    Args:
        approver: the policy in force: payments that people must agree to wait for them; None: there is no policy.
        pacing: how long they wait.
    """
    locked = store.lock([screening.instruction_id for screening in screenings])
    passing = [p for one in screenings if one.passed and (p := locked.get(one.instruction_id))]
    standings = approver.standings(passing, now) if approver is not None else {}
    moves: list[Move] = []
    moved: list[Payment] = []
    for screening in screenings:
        payment = locked.get(screening.instruction_id)
        event = StatusEvent.SCREENING_PASSED if screening.passed else StatusEvent.SCREENING_BLOCKED
        if payment is None or not can_advance(payment.status, event):
            continue
        standing = standings.get(payment.instruction_id) if screening.passed else None
        caused = _screened(payment, event, screening, standing, now, pacing or Pacing(), actor)
        locked[payment.instruction_id] = caused[-1].payment
        moved.append(caused[-1].payment)
        moves += caused
    store.save(moves)
    return moved


def _screened(
    payment: Payment,
    event: StatusEvent,
    screening: Screening,
    standing: Standing | None,
    now: datetime,
    pacing: Pacing,
    actor: str,
) -> list[Move]:
    status = advance(payment.status, event)
    reason = NO_REASON
    if not screening.passed:
        text = f"{screening.description} {screening.description_zh}".strip()
        reason = StatusReason(screening.rule or "SCREENING_BLOCKED", "", text).bounded()
    after = payment.moved(status, now, reason=reason, next_action_at=now if screening.passed else None)
    moves = [Move(f"payment.{status.lower()}", payment.status, after, reason, actor)]
    if standing is not None:
        moves += asked_moves(after, standing, now, pacing, actor)
        after = moves[-1].payment
        if after.status not in RELEASABLE:
            return moves
    begins_at = _start_of(payment.requested_execution_date)
    if screening.passed and begins_at is not None and begins_at > now:
        waiting = after.moved(advance(after.status, StatusEvent.SCHEDULE), now, next_action_at=begins_at)
        moves.append(Move("payment.scheduled", after.status, waiting, NO_REASON, actor))
    return moves


def claim_for_submission(
    store: PaymentStore,
    *,
    now: datetime,
    today: date,
    limit: int,
    accounts_max: int,
    pacing: Pacing,
    actor: str,
    busy_accounts: Collection[str] = (),
) -> list[Submission]:
    """Commit the intention to send: due payments of at most `accounts_max` debtor accounts become SUBMITTING.

    Those of `busy_accounts` wait for the next time. Those whose execution window has passed become EXPIRED instead.

    It must be committed before the first byte leaves. From then on a crash means in doubt, never "not sent".
    """
    due = _releasable(store, now, today, limit, busy_accounts)
    accounts: set[str] = set()
    moves: list[Move] = []
    expired: list[Move] = []
    for payment in due:
        if payment.contradiction:
            continue  # The bank said something about it that does not fit: a person must look first.
        if _window_has_passed(payment, today, pacing):
            expired.append(_expired(payment, now, pacing, actor))
            continue
        if payment.debtor_account not in accounts:
            if len(accounts) == accounts_max:
                continue
            accounts.add(payment.debtor_account)
        moves.append(_release(payment, StatusEvent.RELEASE, NO_REASON, now, pacing, actor))
    store.save([*moves, *expired])
    return [Submission(m.payment, m.payment.submission_attempts, now + pacing.lease) for m in moves]


def _releasable(
    store: PaymentStore, now: datetime, today: date, limit: int, busy_accounts: Collection[str]
) -> list[Payment]:
    """Claim by status: each claim then walks its index in order, and what waits for a bank that is away (SCHEDULED
    again and again) never takes the place of what is new."""
    due: list[Payment] = []
    for status in reversed(RELEASABLE):
        room = limit - len(due) if status is RELEASABLE[0] else max(1, limit // len(RELEASABLE))
        if room > 0:
            due += store.claim_due([status], now, room, due_date=today.isoformat(), busy_accounts=busy_accounts)
    return due


def _window_has_passed(payment: Payment, today: date, pacing: Pacing) -> bool:
    received = payment.received_at.astimezone(BANK_ZONE).date()
    asked_for = payment.requested_execution_date
    begins = max(received, date.fromisoformat(asked_for)) if asked_for else received
    return (today - begins).days > pacing.execution_window_days


def _expired(payment: Payment, now: datetime, pacing: Pacing, actor: str) -> Move:
    text = f"It could not be released within {pacing.execution_window_days} days of its day; order it anew if it is wanted."
    reason = StatusReason("EXECUTION_WINDOW_PASSED", "", text)
    after = payment.moved(advance(payment.status, StatusEvent.EXPIRE), now, reason=reason)
    return Move("payment.expired", payment.status, after, reason, actor)


def resend_payments(
    permits: Sequence[ResendPermit], store: PaymentStore, *, now: datetime, pacing: Pacing, actor: str
) -> list[Submission]:
    """Commit the intention to send again, under permits: same instruction_id, next attempt, evidence in the journal.

    A permit that expired, or whose payment moved on since it was made (an answer came after all), is void and skipped.
    """
    locked = store.lock([permit.instruction_id for permit in permits])
    doubts = store.find_doubts(list(locked))
    moves: list[Move] = []
    used: list[ResendPermit] = []
    proofs = {}
    for permit in permits:
        payment = locked.pop(permit.instruction_id, None)  # A second permit for the same payment finds nothing.
        if payment is None or not can_advance(payment.status, StatusEvent.RESEND):
            continue
        if not permit.still_holds(payment, now):
            continue
        proof = permit.proof
        text = (
            f"No record at the bank: asked {proof.queried_at.isoformat()}, answer {proof.archive_id}, "
            f"control {proof.control_reference} seen, safe window {proof.safe_window.total_seconds():g} s."
        )
        reason = StatusReason("RESEND_PERMIT", "", text).bounded()
        moves.append(_release(payment, StatusEvent.RESEND, reason, now, pacing, actor))
        proofs[payment.instruction_id] = proof
        used.append(permit)
    store.save(moves)
    store.add_permits(used, now, actor)
    after = {move.payment.instruction_id: move.payment for move in moves}
    store.save_doubts([closed(doubt, after[key], now) for key, doubt in doubts.items() if key in after])
    return [
        Submission(m.payment, m.payment.submission_attempts, now + pacing.lease, proofs[m.payment.instruction_id])
        for m in moves
    ]


def _release(
    payment: Payment, event: StatusEvent, reason: StatusReason, now: datetime, pacing: Pacing, actor: str
) -> Move:
    after = payment.moved(
        advance(payment.status, event),
        now,
        reason=reason,
        next_action_at=now + pacing.lease,  # When it is stale, `recover_submitting` takes it.
        step_tries=payment.step_tries,
        submission_attempts=payment.submission_attempts + 1,
        releases=payment.releases + 1,
        first_submitted_at=payment.first_submitted_at or now,
        last_submitted_at=now,
    )
    return Move("payment.submitting", payment.status, after, reason, actor)


@dataclass(frozen=True, slots=True)
class RecordedReports:
    """What reports brought about.

    Attributes:
        moves: what changed, in order.
        permits: payments whose absence at the bank is proven; `resend_payments` takes them.
        unknown_ids: reports about payments that are not ours.
    """

    moves: list[Move]
    permits: list[ResendPermit]
    unknown_ids: list[str]


def record_status_reports(
    reports: Sequence[StatusReport],
    store: PaymentStore,
    *,
    now: datetime,
    pacing: Pacing,
    actor: str,
    asked: Sequence[Payment] = (),
) -> RecordedReports:
    """Write down what the bank says. Late, repeated and contradictory reports are legal and have defined results.

    Args:
        asked: payments claimed with `claim_for_query` whose questions end with this; those that did not move get
            their next question set, further away each time.
    """
    locked = store.lock({report.instruction_id for report in reports} | {payment.instruction_id for payment in asked})
    moves: list[Move] = []
    permits: dict[str, ResendPermit] = {}
    proofs: dict[str, NotFoundProof] = {}
    contradicted: set[str] = set()
    in_queue = [key for key, payment in locked.items() if may_be_in_queue(payment, now, pacing)]
    doubts = store.find_doubts(in_queue) if in_queue else {}
    next_questions = {
        payment.instruction_id: now + pacing.query_delay(payment.step_tries + 1)
        for payment in asked
        if locked[payment.instruction_id].status is payment.status
    }
    for report in reports:
        if report.instruction_id in next_questions:
            next_questions[report.instruction_id] = report.ask_at(next_questions[report.instruction_id])
    unknown: list[str] = []
    for report in reports:
        payment = locked.get(report.instruction_id)
        if payment is None:
            unknown.append(report.instruction_id)
            continue
        caused = decide_report(payment, report, now, pacing, actor)
        if caused:
            locked[report.instruction_id] = caused[-1].payment
            moves += caused
            permits.pop(report.instruction_id, None)
            proofs.pop(report.instruction_id, None)
            if any(move.type == "payment.contradicted" for move in caused):
                contradicted.add(report.instruction_id)
            if caused[-1].payment.status is not payment.status:
                next_questions.pop(report.instruction_id, None)
        elif evidence := _evidence_in(payment, report):
            proofs[report.instruction_id] = evidence
            if not may_resend(payment, doubts.get(report.instruction_id), pacing):
                continue
            try:
                permits[report.instruction_id] = ResendPermit.from_evidence(
                    payment, evidence, now, pacing.permit_lifetime
                )
            except EvidenceInsufficient:  # It stays in doubt and is asked for again, as soon as that can help.
                at = earliest_evidence_at(payment, evidence)
                at = at and report.ask_at(at)
                if at is not None and now < at < next_questions.get(report.instruction_id, at):
                    next_questions[report.instruction_id] = at
    changed: list[Doubt] = []
    asked_ids = {payment.instruction_id for payment in asked}
    for key in dict.fromkeys((*in_queue, *sorted(contradicted | asked_ids))):
        payment, earlier = locked[key], doubts.get(key)
        if key in permits or not (earlier or may_be_in_queue(payment, now, pacing)):
            continue
        doubt = follow_doubt(
            payment,
            earlier,
            proof=proofs.get(key),
            queries=payment.step_tries + (key in asked_ids),
            is_contradicted=key in contradicted,
            now=now,
            pacing=pacing,
        )
        if doubt is not None and doubt != earlier:
            changed.append(doubt)
            if doubt.is_open and (earlier is None or not earlier.is_open) and key not in contradicted:
                moves.append(doubted_move(payment, doubt, actor))
    store.save(moves)
    store.save_doubts(changed)
    by_instant: dict[datetime, list[Payment]] = {}
    for instruction_id, at in next_questions.items():
        by_instant.setdefault(at, []).append(locked[instruction_id])
    for at, payments in by_instant.items():
        store.postpone(payments, at)
    return RecordedReports(moves, list(permits.values()), unknown)


def _evidence_in(payment: Payment, report: StatusReport) -> NotFoundProof | None:
    """Return the report's evidence that the present attempt never counted, if it speaks of that."""
    if report.word is not BankWord.NOT_FOUND or payment.status is not PaymentStatus.UNKNOWN:
        return None
    return report.proof if report.attempt == payment.submission_attempts else None


def claim_for_query(store: PaymentStore, *, now: datetime, limit: int, pacing: Pacing) -> list[Payment]:
    """Return open payments to ask the bank about, held until the lease ends so that nobody asks twice at once.

    `record_status_reports(asked=…)` ends the claim, also when no answer came.
    """
    due = store.claim_due([PaymentStatus.PROCESSING, PaymentStatus.UNKNOWN], now, limit)
    by_tries: dict[int, list[Payment]] = {}
    for payment in due:
        by_tries.setdefault(payment.step_tries, []).append(payment)
    for tries, payments in by_tries.items():
        store.postpone(payments, now + pacing.lease, step_tries=tries)  # the question counts when it has ended
    return due


def recover_submitting(
    store: PaymentStore, *, now: datetime, stale_at: datetime, limit: int, pacing: Pacing, actor: str
) -> list[Payment]:
    """Take SUBMITTING payments whose lease ended by `stale_at` to UNKNOWN: in doubt, never "not sent".

    Args:
        stale_at: `now`, or far in the future right after a start where no other process can be sending.
    """
    stale = store.claim_due([PaymentStatus.SUBMITTING], stale_at, limit)
    reason = StatusReason("NO_ANSWER", "", "The sender ended between the intention to send and the bank's answer.")
    moves = [
        Move(
            "payment.unknown",
            payment.status,
            payment.moved(
                advance(payment.status, StatusEvent.NO_ANSWER),
                now,
                reason=reason,
                next_action_at=now + pacing.first_query_delay,
            ),
            reason,
            actor,
        )
        for payment in stale
    ]
    store.save(moves)
    return [move.payment for move in moves]


def record_returns(
    reports: Sequence[StatusReport], store: PaymentStore, *, now: datetime, pacing: Pacing, actor: str
) -> RecordedReports:
    """Write down payments that came back. Repeats change nothing; references that are not ours are only counted."""
    returned = [report for report in reports if report.word is BankWord.RETURNED]
    return record_status_reports(returned, store, now=now, pacing=pacing, actor=actor)


CancellationOutcome = Withdrawn | CancellationRefused | PaymentMissing


def cancel_payments(
    cancellations: Sequence[Cancellation], store: PaymentStore, *, now: datetime, actor: str
) -> list[CancellationOutcome]:
    """Withdraw payments that were not released; idempotent.

    Returns:
        In order: the payment, now CANCELLED, or why not. A released payment is never touched.
    """
    locked = store.lock_by_end_to_end_id({c.end_to_end_id for c in cancellations})
    moves: list[Move] = []
    results: list[CancellationOutcome] = []
    for cancellation in cancellations:
        payment = locked.get(cancellation.end_to_end_id)
        if payment is None:
            results.append(PaymentMissing(cancellation.end_to_end_id))
        elif not can_advance(payment.status, StatusEvent.CANCEL):
            results.append(CancellationRefused(payment))
        elif payment.status is PaymentStatus.CANCELLED:
            results.append(Withdrawn(payment, None))
        else:
            status = advance(payment.status, StatusEvent.CANCEL)
            reason = StatusReason("CANCELLED_BY_DEBTOR", "", cancellation.reason).bounded()
            after = payment.moved(status, now, reason=reason, step_tries=payment.step_tries)
            moves.append(Move("payment.cancelled", payment.status, after, reason, actor))
            locked[cancellation.end_to_end_id] = after
            results.append(Withdrawn(after, payment.status))
    store.save(moves)
    return results


def _start_of(iso_date: str) -> datetime | None:
    """Return when that banking day begins, None for ""."""
    return datetime.combine(date.fromisoformat(iso_date), time(), BANK_ZONE) if iso_date else None

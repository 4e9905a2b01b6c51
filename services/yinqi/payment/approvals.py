"""Who has agreed to what: where a payment's approval stands, and what one more decision brings about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import NamedTuple

from yinqi.kernel.clock import BANK_ZONE
from yinqi.kernel.errors import FailedPrecondition, InvalidRequest, NotFound
from yinqi.orders.evidence import (
    DECISIONS_MAX,
    CheckedOrder,
    Evidence,
    Line,
    check_orders,
    judge_lines,
    reason_of,
    vote_of,
    words_of,
)
from yinqi.orders.keys import DECISION_CONTEXT, Signed, verify_all
from yinqi.orders.order import read_decision
from yinqi.orders.policy import Need, Payable, Refusal, Verdict, Vote, vote_counts, who_could
from yinqi.orders.policy_file import SignedPolicy
from yinqi.payment.model import NO_REASON, Move, OrderLine, Pacing, Payment, PaymentOrder, StatusReason
from yinqi.payment.ports import OrderStore, PaymentStore
from yinqi.payment.status import PaymentStatus, StatusEvent, advance

HELD_BACK = "LAST_DOOR_APPROVALS_MISSING"  # the gateway's word


class DecisionRefused(FailedPrecondition):
    """The decision counts for nothing: its signer may not give it, or has given another. Nothing was recorded."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a payment's approval stands.

    Attributes:
        reason: what stands in the way, "" if nothing; `text` says it in words.
        by_people: somebody's decision is part of it.
        missing: what lacks still.
        needs_code: whoever approves it gives a one-time code as well.
    """

    reason: str
    text: str
    by_people: bool
    missing: tuple[Need, ...] = ()
    needs_code: bool = False


CheckCode = Callable[[str], str]
"""Checks the one-time code that came with a decision of a person; returns the reason against it, "" if it is accepted."""


class Decided(NamedTuple):
    """What a decision brought about. `refused`: why it was not recorded; what was noted of its code stays noted."""

    order: PaymentOrder
    moves: list[Move]
    refused: DecisionRefused | None = None


class Approver:
    """Judges payments by the policy in force, as the gateway will once more.

    Args:
        orders: of the same transaction as the payments' store.
    """

    def __init__(self, signed: SignedPolicy, orders: OrderStore) -> None:
        self._signed = signed
        self._orders = orders

    def standings(self, payments: Sequence[Payment], now: datetime) -> dict[str, Standing]:
        """Return where each payment stands, by instruction_id."""
        if not payments:
            return {}
        lines = self._orders.lines_of([payment.instruction_id for payment in payments])
        evidence = self._orders.evidence({line.order_digest for line in lines.values()})
        checked = check_orders(list(evidence.values()), self._signed)
        sums = self._sums(payments, now)
        nowhere = OrderLine("", 0)
        asked = [
            Line(p.order_bytes, bytes.fromhex(line.order_digest), line.number)
            for p in payments
            for line in (lines.get(p.instruction_id, nowhere),)
        ]
        verdicts = judge_lines(asked, checked, self._signed, lambda line: sums.get(_pair(line), line.minor_units), now)
        return {
            payment.instruction_id: _standing(verdict, checked.get(line.order_digest))
            for payment, line, verdict in zip(payments, asked, verdicts, strict=True)
        }

    def prove(self, order: PaymentOrder, decision: Signed, now: datetime) -> tuple[Vote, bool]:
        """Return the vote that a decision is, and whether it is new: the same again changes nothing.

        Raises:
            OrderInvalid, InvalidRequest: it cannot be read, or its signature does not hold.
            DecisionRefused: it counts for nothing.
        """
        said = read_decision(decision)
        digest = order.record.digest
        if not verify_all(DECISION_CONTEXT, [decision], self._signed.public_keys())[0]:
            raise InvalidRequest(
                "DECISION_SIGNATURE_INVALID",
                "The decision's signature does not hold; nothing was recorded.",
                "审批签名无效。",
            )
        if said.order_digest.hex() != digest:
            raise _refused("ORDER_DIFFERS", "it was given for another order", "该审批意见属于另一张付款单")
        skew = self._signed.policy.clock_skew
        if not now - self._signed.order_lifetime <= said.decided_at <= now + skew:
            raise _refused(
                "DECISION_OUT_OF_TIME", "it is too old or from the future; sign it anew", "审批时间无效，请重新签署"
            )
        vote = vote_of(decision, bytes.fromhex(digest), self._signed)
        (evidence,) = self._orders.evidence([digest]).values()
        checked = check_orders([evidence], self._signed)[bytes.fromhex(digest)]
        if vote is None or isinstance(checked, str):
            raise _refused(
                "KEY_NOT_VALID", "the key was not valid then, or the order no longer holds", "密钥或付款单无效"
            )
        if not vote_counts(self._signed.policy, vote, checked.facts, now):
            raise _refused(
                "NO_RIGHT_TO_DECIDE",
                f"{vote.person} made the order, or holds no role that it needs, himself or lent",
                "该人员为经办人，或没有所需角色",
            )
        for earlier in evidence.decisions:
            if earlier.key_id == decision.key_id:
                if read_decision(earlier).approves is said.approves:
                    return vote, False
                raise _refused(
                    "DECIDED_ALREADY", "the same key has decided otherwise before", "该密钥已作出不同的审批意见"
                )
        if len(evidence.decisions) >= DECISIONS_MAX:
            raise _refused("DECISIONS_TOO_MANY", f"an order takes {DECISIONS_MAX} decisions", "审批意见过多")
        return vote, True

    def _sums(self, payments: Sequence[Payment], now: datetime) -> dict[tuple[str, str, str], int]:
        """Return what goes to each creditor within the longest window of the policy that is for it."""
        by_window: dict[timedelta, set[tuple[str, str, str]]] = {}
        for payment in payments:
            line = _payable(payment)
            rule = self._signed.policy.rule_of(line)
            if rule is not None and rule.window:
                by_window.setdefault(rule.window, set()).add(_pair(line))
        sums: dict[tuple[str, str, str], int] = {}
        for window, pairs in by_window.items():
            for pair, minor_units in self._orders.creditor_sums(pairs, now - window).items():
                sums[pair] = max(minor_units, sums.get(pair, 0))
        return sums


def decide_order(
    id_or_digest: str,
    decision: Signed,
    store: PaymentStore,
    orders: OrderStore,
    signed: SignedPolicy,
    *,
    now: datetime,
    check_code: CheckCode,
) -> Decided:
    """Write down a person's decision on an order; payments whose quorum it completes go on, refused ones end.

    Args:
        check_code: asked where the policy wants a one-time code for an approval; a refusal needs none.
    Raises:
        NotFound: no such order. OrderInvalid, InvalidRequest, DecisionRefused: nothing was recorded.
    """
    order = find_order(id_or_digest, orders, signed)
    approver = Approver(signed, orders)
    vote, is_new = approver.prove(order, decision, now)
    locked = store.lock(orders.payments_of(order.record.digest))
    waiting = [payment for payment in locked.values() if waits_for_people(payment)]
    if is_new:
        # Of all lines: an approval may come before a line has been screened, and counts for it then.
        standings = approver.standings(list(locked.values()), now).values()
        if vote.approves and any(one.needs_code for one in standings) and (reason := check_code(vote.person)):
            return Decided(order, [], _refused(reason, *CODE_WORDS[reason]))
        orders.add_decision(order.record.digest, decision, now)
    return Decided(order, _go_on(waiting, approver, store, now, f"approver:{vote.person}"))


def reconsider(store: PaymentStore, orders: OrderStore, signed: SignedPolicy, digest: str, now: datetime) -> list[Move]:
    """Do what a new policy brings about for the payments of an order that wait: some need nobody any more."""
    locked = store.lock(orders.payments_of(digest))
    waiting = [payment for payment in locked.values() if waits_for_people(payment)]
    return _go_on(waiting, Approver(signed, orders), store, now, "payment.policy")


def waits_for_people(payment: Payment) -> bool:
    """Whether approvals are missing: asked for before release, or at the last door, if an approver lost his role since."""
    is_held_back = payment.status is PaymentStatus.SCHEDULED and payment.reason_code == HELD_BACK
    return is_held_back or payment.status is PaymentStatus.AWAITING_APPROVAL


def _go_on(
    waiting: Sequence[Payment], approver: Approver, store: PaymentStore, now: datetime, actor: str
) -> list[Move]:
    """Move the payments whose standing allows it; those that the last door held back may ask there again at once."""
    standings = approver.standings(waiting, now)
    moves: list[Move] = []
    ready: list[Payment] = []
    for payment in waiting:
        standing = standings[payment.instruction_id]
        if payment.status is PaymentStatus.AWAITING_APPROVAL:
            moves += approval_moves(payment, standing, now, actor)
        elif not standing.reason:
            ready.append(payment)
    store.save(moves)
    store.postpone(ready, now, step_tries=0)
    return moves


def find_order(id_or_digest: str, orders: OrderStore, signed: SignedPolicy) -> PaymentOrder:
    """Return an order by its id or digest.

    Raises:
        NotFound: there is none.
    """
    order = orders.get(signed.policy.company, id_or_digest)
    if order is None:
        raise NotFound("ORDER_NOT_FOUND", "No order has that id. See `yinqi approve list`.", "没有该付款单。")
    return order


def asked_moves(payment: Payment, standing: Standing, now: datetime, pacing: Pacing, actor: str) -> list[Move]:
    """Return what follows for a payment that has just passed screening: nothing, if no person has to agree."""
    if not standing.reason and not standing.by_people:
        return []
    reason = StatusReason(standing.reason, "", standing.text).bounded() if standing.reason else NO_REASON
    after = payment.moved(
        advance(payment.status, StatusEvent.APPROVAL_ASKED),
        now,
        reason=reason,
        next_action_at=end_of_window(payment, pacing),
    )
    move = Move("payment.awaiting_approval", payment.status, after, reason, actor)
    return [move, *approval_moves(after, standing, now, actor)]


def approval_moves(payment: Payment, standing: Standing, now: datetime, actor: str) -> list[Move]:
    """Return the move of a waiting payment that its standing allows, if any."""
    if standing.reason == Refusal.REFUSED_BY_APPROVER:
        reason = StatusReason(standing.reason, "", standing.text).bounded()
        denied = payment.moved(advance(payment.status, StatusEvent.APPROVAL_DENIED), now, reason=reason)
        return [Move("payment.cancelled", payment.status, denied, reason, actor)]
    if standing.reason:
        return []
    asked_for = payment.requested_execution_date
    begins_at = datetime.combine(date.fromisoformat(asked_for), time(), BANK_ZONE) if asked_for else now
    given = payment.moved(advance(payment.status, StatusEvent.APPROVAL_GIVEN), now, next_action_at=max(now, begins_at))
    return [Move("payment.approved", payment.status, given, NO_REASON, actor)]


def expire_unapproved(store: PaymentStore, *, now: datetime, limit: int, actor: str) -> list[Payment]:
    """End payments that nobody approved in their window."""
    reason = StatusReason("EXECUTION_WINDOW_PASSED", "", "It was not approved in time; order it anew if it is wanted.")
    moves = [
        Move(
            "payment.expired",
            payment.status,
            payment.moved(advance(payment.status, StatusEvent.EXPIRE), now, reason=reason),
            reason,
            actor,
        )
        for payment in store.claim_due([PaymentStatus.AWAITING_APPROVAL], now, limit)
    ]
    store.save(moves)
    return [move.payment for move in moves]


def end_of_window(payment: Payment, pacing: Pacing) -> datetime:
    """Return when a payment that waits has waited too long: the end of the last day of its execution window."""
    received = payment.received_at.astimezone(BANK_ZONE).date()
    asked_for = payment.requested_execution_date
    begins = max(received, date.fromisoformat(asked_for)) if asked_for else received
    return datetime.combine(begins + timedelta(days=pacing.execution_window_days + 1), time(), BANK_ZONE)


def still_missing(standings: Sequence[Standing]) -> tuple[Need, ...]:
    """Return the most that any of them lacks, by role."""
    most: dict[str, int] = {}
    for standing in standings:
        for need in standing.missing:
            most[need.role] = max(need.people, most.get(need.role, 0))
    return tuple(Need(role, count) for role, count in sorted(most.items()))


class Given(NamedTuple):
    """A decision as the policy reads it now. `counts`: its giver still holds a role that a rule asks for."""

    vote: Vote
    counts: bool


class Lacking(NamedTuple):
    """What lacks, and who could give it now."""

    need: Need
    people: tuple[str, ...]


class Obstacle(NamedTuple):
    """What stands in the way of so many lines though nobody's approval is missing."""

    reason: str
    text: str
    lines: int


class KnownOrder(NamedTuple):
    """What people are told of an order that waits. `maker`: "" if the order does not hold."""

    obstacles: tuple[Obstacle, ...]
    maker: str
    given: tuple[Given, ...]
    lacking: tuple[Lacking, ...]
    needs_code: bool


def known_of(
    evidence: Evidence, payments: Sequence[Payment], approver: Approver, signed: SignedPolicy, now: datetime
) -> KnownOrder:
    """Return what people are told of an order with these payments."""
    standings = approver.standings(payments, now)
    waiting = [standings[payment.instruction_id] for payment in payments if waits_for_people(payment)]
    missing = still_missing(waiting)
    needs_code = any(one.needs_code for one in standings.values())
    counts = Counter((one.reason, one.text) for one in waiting if one.reason and not one.missing)
    obstacles = tuple(Obstacle(*what, lines) for what, lines in sorted(counts.items()))
    order = check_orders([evidence], signed)[evidence.digest]
    if isinstance(order, str):
        return KnownOrder(obstacles, "", (), tuple(Lacking(need, ()) for need in missing), needs_code)
    facts, policy = order.facts, signed.policy
    given = (Given(vote, vote_counts(policy, vote, facts, now)) for vote in sorted(facts.votes, key=lambda v: v.at))
    lacking = (Lacking(need, who_could(policy, need.role, facts, now)) for need in missing)
    return KnownOrder(obstacles, facts.maker, tuple(given), tuple(lacking), needs_code)


def _standing(verdict: Verdict | str, order: CheckedOrder | str | None) -> Standing:
    by_people = isinstance(order, CheckedOrder) and bool(order.facts.votes)
    reason = reason_of(verdict)
    missing = () if isinstance(verdict, str) else verdict.missing
    needs_code = not isinstance(verdict, str) and verdict.needs_code
    return Standing(reason, words_of(verdict) if reason else "", by_people, missing, needs_code)


CODE_WORDS = {
    "ONE_TIME_CODE_NEEDED": ("the policy asks for a one-time code too (--code)", "策略要求动态口令（--code）"),
    "ONE_TIME_CODE_WRONG": ("the one-time code is wrong; wait for the next", "动态口令错误，请用下一个口令"),
    "ONE_TIME_CODE_USED": ("the one-time code was used before; wait for the next", "动态口令已用过，请用下一个口令"),
    "ONE_TIME_CODE_LOCKED": (
        "too many wrong one-time codes; try again in 15 minutes",
        "动态口令错误过多，请 15 分钟后再试",
    ),
    "ONE_TIME_CODE_NOT_SET_UP": (
        "you have no one-time codes yet; whoever runs the service gives them out with `yinqi approve enrol`",
        "尚未开通动态口令，请联系管理员执行 `yinqi approve enrol`",
    ),
}


def _payable(payment: Payment) -> Payable:
    return Payable(
        payment.debtor_account,
        payment.creditor_account,
        payment.category_purpose,
        payment.currency,
        payment.amount_minor_units,
        payment.requested_execution_date,
    )


def _pair(line: Payable) -> tuple[str, str, str]:
    return line.debtor_account, line.creditor_account, line.currency


def _refused(reason: str, words: str, words_zh: str) -> DecisionRefused:
    return DecisionRefused(reason, f"The decision was not recorded: {words}.", f"审批意见未受理：{words_zh}。")

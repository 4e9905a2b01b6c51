"""One payment between its worker, the gateway, the network and a bank, as states; every step runs the services' own functions.

What is real: all of payment's `use_cases` and `doubt_use_cases`, and through them the table, the decisions, the permit and
the people's queue; of the gateway its rules on what may be sent and what its registry proves. What is pretended: stores
with one row, a bank that never drops a duplicate, a network, and time, which stands still but for the steps that wait for a
safe window to pass. Any step that could happen may happen at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

from payment_builders import NOW, new_payment, payment

from yinqi.gateway import decisions as gateway_rules
from yinqi.gateway.model import Absence, Attempt, Instruction, SendState
from yinqi.gateway.model import NotFoundProof as GatewayProof
from yinqi.gateway.model import Submission as GatewaySubmission
from yinqi.kernel.errors import YinqiError
from yinqi.kernel.money import Money
from yinqi.payment import doubt_use_cases, mapping, use_cases
from yinqi.payment.doubts import Decision, Doubt, DoubtReason, Proposal
from yinqi.payment.model import (
    BankWord,
    Cancellation,
    Move,
    NotFoundProof,
    Pacing,
    Payment,
    Screening,
    StatusReason,
    StatusReport,
    Submission,
)
from yinqi.payment.resend import ResendPermit
from yinqi.payment.status import IN_FLIGHT, PaymentStatus

KEY, END_TO_END_ID = "PI0001", new_payment().instruction.end_to_end_id
SAFE_WINDOW = timedelta(seconds=30)
ATTEMPTS_MAX, RELEASES_MAX = 2, 6  # the second: of what nobody may send for ever, as mutants do
S, W = PaymentStatus, BankWord

NOTHING = -1
_LATER = 9
R = TypeVar("R")
T = TypeVar("T")

# What the bank has of one request: it debits with the first two, and a refused one never.
PENDING, BOOKED, BACK, REFUSED = "PENDING", "BOOKED", "BACK", "REFUSED"
_WORD_OF = {PENDING: W.PROCESSING, BOOKED: W.SETTLED, BACK: W.RETURNED, REFUSED: W.REJECTED}


class Call(NamedTuple):
    """A SubmitPayments call; `asked`: the clock as its evidence was asked for, NOTHING for a first attempt."""

    attempt: int
    release: int
    asked: int


class Row(NamedTuple):
    """What the gateway's registry has of an attempt; `clock`: as it was claimed."""

    attempt: int
    state: SendState
    release: int
    clock: int


class World(NamedTuple):
    """Everything that decides what can happen next; numbers name what the explorer has written down.

    Attributes:
        stored: the payment and its place in the people's queue; it survives a crash.
        clock: safe windows that have passed.
        bank: what it has, one record per request that arrived: (attempt, what).
        registry: what the gateway has on record of its attempts.
        network: attempts on their way to the bank. late: reports that may be heard at any time, any number of times.
        holding: the call that the worker is about to make. calling: the one whose answer it waits for.
        delayed: calls on their way to the gateway, whether or not anybody waits for them.
        answer: the report it heard of that call, NOTHING before.
        asked: the payment's status as the worker asked about it, and the report that came; None between questions.
        permit: as the worker holds it, also after it was used; NOTHING without.
        is_fickle: the bank took back a final word.
        faults, crashes: how many may still happen.
    """

    stored: int
    clock: int = 0
    bank: tuple[tuple[int, str], ...] = ()
    registry: tuple[Row, ...] = ()
    network: tuple[int, ...] = ()
    late: frozenset[int] = frozenset()
    holding: Call | None = None
    calling: Call | None = None
    delayed: tuple[Call, ...] = ()
    answer: int = NOTHING
    asked: tuple[PaymentStatus, int] | None = None
    permit: int = NOTHING
    is_fickle: bool = False
    faults: int = 3
    crashes: int = 1

    @property
    def now(self) -> datetime:
        return NOW + self.clock * SAFE_WINDOW

    @property
    def debits(self) -> int:
        """How often the bank has taken or will take the money."""
        return sum(what != REFUSED for _, what in self.bank)

    @property
    def may_have_left(self) -> bool:
        """Whether the gateway has begun to send it."""
        return any(row.state is not SendState.NOT_SENT for row in self.registry)


@dataclass(frozen=True, slots=True)
class Stored:
    """What is on record of the payment."""

    payment: Payment
    doubt: Doubt | None = None

    @property
    def is_in_queue(self) -> bool:
        return self.doubt is not None and self.doubt.is_open

    @property
    def is_done(self) -> bool:
        """Whether it is final, or waits for people."""
        return self.payment.is_final or self.is_in_queue

    @property
    def has_an_owner(self) -> bool:
        """Whether a worker will act by itself, or people are asked to."""
        return self.payment.next_action_at is not None or self.is_in_queue


class Step(NamedTuple):
    """What happened, where it leads, and the report that was recorded by it, if any."""

    name: str
    world: World
    heard: StatusReport | None = None


class OneRow:
    """The `PaymentStore` port over one payment. Due is whatever has a next action: time never holds a step back."""

    def __init__(self, stored: Stored) -> None:
        self.payment = stored.payment
        self.doubt = stored.doubt

    def lock(self, instruction_ids: Collection[str]) -> dict[str, Payment]:
        return {KEY: self.payment} if KEY in instruction_ids else {}

    def lock_by_end_to_end_id(self, end_to_end_ids: Collection[str]) -> dict[str, Payment]:
        return {END_TO_END_ID: self.payment}

    def claim_due(self, statuses: Sequence[PaymentStatus], now: datetime, limit: int, **_: Any) -> list[Payment]:
        is_due = self.payment.status in statuses and self.payment.next_action_at is not None
        return [self.payment] if is_due else []

    def postpone(self, payments: Sequence[Payment], until: datetime, *, step_tries: int | None = None) -> None:
        if payments:
            tries = self.payment.step_tries + 1 if step_tries is None else step_tries
            self.payment = replace(self.payment, next_action_at=until, step_tries=tries)

    def save(self, moves: Sequence[Move]) -> None:
        for move in moves:
            self.payment = move.payment

    def find_doubts(self, instruction_ids: Sequence[str]) -> dict[str, Doubt]:
        return {KEY: self.doubt} if self.doubt and KEY in instruction_ids else {}

    def save_doubts(self, doubts: Sequence[Doubt]) -> None:
        for doubt in doubts:
            self.doubt = doubt

    def add_permits(self, permits: Sequence[ResendPermit], used_at: datetime, actor: str) -> None:
        pass


def _report(
    word: BankWord, attempt: int, code: str = "", proof: NotFoundProof | None = None, release: int = 0
) -> StatusReport:
    return StatusReport(KEY, word, attempt, StatusReason(code), proof=proof, release=release)


class Numbers(Generic[T]):
    """Gives equal things one number, so that worlds are small and quickly compared."""

    def __init__(self) -> None:
        self._number_of: dict[Hashable, int] = {}
        self.things: list[T] = []

    def of(self, thing: T, key: Hashable) -> int:
        number = self._number_of.setdefault(key, len(self.things))
        if number == len(self.things):
            self.things.append(thing)
        return number


class Explorer:
    """All steps out of a world. What a function of the services makes of an input is asked once and remembered.

    Args:
        lingers: calls to the gateway may be held up or delivered twice, and its word NOT_SENT be heard late and again.
    """

    def __init__(self, pacing: Pacing, *, lingers: bool = True) -> None:
        self._pacing = pacing
        self._lingers = lingers
        self._stored: Numbers[Stored] = Numbers()
        self._reports: Numbers[StatusReport] = Numbers()
        self._permits: Numbers[ResendPermit] = Numbers()
        self._known: dict[tuple[Any, ...], Any] = {}

    def beginning(self, faults: int = 3, crashes: int = 1) -> World:
        """A payment that was accepted just now."""
        return World(self._number(Stored(payment(S.RECEIVED))), faults=faults, crashes=crashes)

    def stored(self, world: World) -> Stored:
        """Return what is on record in a world."""
        return self._stored.things[world.stored]

    def steps(self, world: World) -> Iterator[Step]:
        """Return what may happen next."""
        for steps in (
            self._own,
            self._sending,
            self._delayed,
            self._arriving,
            self._bank_moves,
            self._asking,
            self._people,
            self._time,
        ):
            for step in steps(world):
                after = self._without_refused(step.world)
                is_final = self._stored.things[after.stored].payment.is_final
                yield step._replace(world=self._at_rest(after) if is_final else after)

    def _without_refused(self, world: World) -> World:
        """Forget calls that the gateway refuses for ever: what is on record of an attempt only grows."""
        if not world.delayed:
            return world
        left = tuple(call for call in world.delayed if not self._blocks(world.registry, call))
        return world._replace(delayed=left)

    def _at_rest(self, world: World) -> World:
        """Forget what can change nothing any more: of a final payment the clock, and a permit if it is refused."""
        permit = world.permit
        if permit != NOTHING:
            _, sent = self._do(world, "resend", partial(self._resent, self._permits.things[permit]), permit)
            permit = permit if sent else NOTHING
        registry = world.registry if world.delayed or world.holding else ()
        return world._replace(clock=_LATER, permit=permit, registry=registry)

    # --- numbers and memory ---

    def _number(self, stored: Stored) -> int:
        """Number what is stored, without what decides nothing: texts, instants of moves, a closed place in the queue."""
        its, doubt = stored.payment, stored.doubt
        plain = replace(
            its,
            reason_code="",
            reason_proprietary_code="",
            reason_text="",
            updated_at=NOW,
            first_submitted_at=None,
            account_servicer_reference="",
            next_action_at=NOW if its.next_action_at else None,
            step_tries=0 if its.is_final else min(its.step_tries, self._pacing.doubt_queries),
            releases=0 if its.is_final else its.releases,
        )
        if doubt is not None:
            doubt = replace(doubt, opened_at=NOW, proposal=None)
            if not doubt.is_open:
                doubt = replace(doubt, closed_at=NOW, proof=None, reason=DoubtReason.QUERIES_EXHAUSTED, attempt=0)
        key = (
            plain.status,
            plain.submission_attempts,
            plain.releases,
            plain.last_submitted_at,
            plain.step_tries,
            plain.next_action_at,
            plain.contradiction,
            doubt and (doubt.closing, doubt.reason, doubt.attempt, doubt.resend_attempt, _proof_key(doubt.proof)),
        )
        return self._stored.of(Stored(plain, doubt), key)

    def _report_number(self, report: StatusReport) -> int:
        its = (report.word, report.attempt, report.release, report.reason.code, _proof_key(report.proof))
        return self._reports.of(report, its)

    def _do(self, world: World, name: str, use_case: Callable[[OneRow, datetime], R], *key: Hashable) -> tuple[int, R]:
        """Return what is stored after a use case, and its result."""
        key = (name, world.stored, world.clock, *key)
        if key not in self._known:
            store = OneRow(self.stored(world))
            result = use_case(store, world.now)
            self._known[key] = self._number(Stored(store.payment, store.doubt)), result
        found: tuple[int, R] = self._known[key]
        return found

    # --- the worker, before and between calls ---

    def _own(self, world: World) -> Iterator[Step]:
        status = self.stored(world).payment.status
        if status is S.RECEIVED:
            stored, _ = self._do(world, "screen", self._screened)
            yield Step("screen", world._replace(stored=stored))
        # Whenever somebody wants it withdrawn: the function says whether that may be.
        stored, _ = self._do(world, "cancel", _cancelled)
        if stored != world.stored:
            yield Step("cancel", world._replace(stored=stored))
        if not (world.holding or world.calling):
            yield from self._released(world)
        if world.crashes and (world.holding or world.calling or world.asked or world.permit != NOTHING):
            dead = world._replace(holding=None, calling=None, answer=NOTHING, asked=None, permit=NOTHING)
            yield Step("crash", dead._replace(crashes=world.crashes - 1))

    def _screened(self, store: OneRow, now: datetime) -> None:
        use_cases.claim_for_screening(store, now=now, limit=1, pacing=self._pacing)
        use_cases.record_screenings([Screening(KEY, True)], store, now=now, actor="m")

    def _released(self, world: World) -> Iterator[Step]:
        """The lease outlives every call, so a claim ends only where nobody holds or awaits anything any more."""
        its = self.stored(world).payment
        if its.submission_attempts > ATTEMPTS_MAX or its.releases > RELEASES_MAX:
            return  # Only a mutant comes so far; the world must end somewhere.
        stored, claimed = self._do(world, "claim", self._claimed)
        if claimed:
            yield Step("claim", world._replace(stored=stored, holding=_call(claimed[0])))
        stored, recovered = self._do(world, "recover", self._recovered)
        if recovered:
            yield Step("recover", world._replace(stored=stored))
        if world.permit != NOTHING:
            permit = self._permits.things[world.permit]
            stored, sent = self._do(world, "resend", partial(self._resent, permit), world.permit)
            if sent:
                yield Step("resend", world._replace(stored=stored, holding=_call(sent[0])))

    def _claimed(self, store: OneRow, now: datetime) -> list[Submission]:
        return use_cases.claim_for_submission(
            store, now=now, today=NOW.date(), limit=1, accounts_max=1, pacing=self._pacing, actor="m"
        )

    def _recovered(self, store: OneRow, now: datetime) -> list[Payment]:
        return use_cases.recover_submitting(store, now=now, stale_at=now, limit=1, pacing=self._pacing, actor="m")

    def _resent(self, permit: ResendPermit, store: OneRow, now: datetime) -> list[Submission]:
        return use_cases.resend_payments([permit], store, now=now, pacing=self._pacing, actor="m")

    # --- requests and answers ---

    def _sending(self, world: World) -> Iterator[Step]:
        if world.holding:
            call = world.holding
            idle = world._replace(holding=None)
            sent, refused = self._delivered(idle, call)
            yield Step("send", sent._replace(calling=call, answer=refused))
            yield Step("hold too long", idle)
            if world.faults:
                worse = world._replace(faults=world.faults - 1)
                gone, unsent = self._written_off(worse._replace(holding=None), call)
                yield Step("unreachable", gone._replace(calling=call, answer=unsent))
                if self._lingers:
                    late = gone._replace(late=world.late | {unsent})
                    yield Step("unreachable, heard late", late._replace(calling=call, answer=self._silence(call)))
                    # It arrives some time: for the first time, if the worker then holds too long, else for the second.
                    lingering = worse._replace(delayed=tuple(sorted((*world.delayed, call))))
                    yield Step("call held up or doubled", lingering)
        if world.calling and world.answer == NOTHING:
            is_on_its_way = world.calling.attempt in world.network
            if world.faults or not is_on_its_way:
                silence = world._replace(answer=self._silence(world.calling), faults=world.faults - is_on_its_way)
                yield Step("call times out", silence)
        if world.answer != NOTHING:
            yield self._record(world._replace(calling=None, answer=NOTHING), "record answer", world.answer)

    def _silence(self, call: Call) -> int:
        return self._report_number(_report(W.UNKNOWN, call.attempt, "NO_ANSWER"))

    # --- the gateway ---

    def _delayed(self, world: World) -> Iterator[Step]:
        for call in dict.fromkeys(world.delayed):
            rest = list(world.delayed)
            rest.remove(call)
            yield Step("delayed call arrives", self._delivered(world._replace(delayed=tuple(rest)), call)[0])

    def _delivered(self, world: World, call: Call) -> tuple[World, int]:
        """Return what the gateway makes of a call, and its report if it sends nothing."""
        if self._blocks(world.registry, call):
            return world, self._report_number(_report(W.UNKNOWN, call.attempt, gateway_rules.ALREADY_SUBMITTED))
        if call.attempt > 1 and not self._is_proved(world.registry, call):
            return self._written_off(world, call)
        network = tuple(sorted((*world.network, call.attempt)))
        return _with_row(world, call, SendState.SENDING)._replace(network=network), NOTHING

    def _written_off(self, world: World, call: Call) -> tuple[World, int]:
        """Return what the gateway makes of a call whose bytes cannot leave: recorded, unless it is refused anyway."""
        if self._blocks(world.registry, call):
            return world, self._report_number(_report(W.UNKNOWN, call.attempt, gateway_rules.ALREADY_SUBMITTED))
        unsent = _report(W.NOT_SENT, call.attempt, release=call.release)
        return _with_row(world, call, SendState.NOT_SENT), self._report_number(unsent)

    def will_leave(self, world: World) -> bool:
        """Whether a request is on its way, or a call that the gateway would take as things stand."""
        calls = (*world.delayed, world.holding) if world.holding else world.delayed
        return bool(world.network) or any(self._would_send(world.registry, call) for call in calls)

    def _would_send(self, registry: tuple[Row, ...], call: Call) -> bool:
        return not self._blocks(registry, call) and (call.attempt == 1 or self._is_proved(registry, call))

    def _blocks(self, registry: tuple[Row, ...], call: Call) -> bool:
        return self._asked_of_gateway(
            "blocks", registry, call, lambda rows: gateway_rules.blocks(rows, call.attempt, call.release)
        )

    def _is_proved(self, registry: tuple[Row, ...], call: Call) -> bool:
        def is_proved(rows: list[Attempt]) -> bool:
            try:
                gateway_rules.require_proof(_submission(call), rows, _absence_of(call), SAFE_WINDOW, timedelta(0))
            except gateway_rules.ResendRefused:
                return False
            return True

        return self._asked_of_gateway("is proved", registry, call, is_proved)

    def _is_written_off(self, registry: tuple[Row, ...], subject: Payment) -> bool:
        reference = mapping.reference_to(subject)
        asked = (reference.attempt, reference.release)
        return self._asked_of_gateway(
            "is written off", registry, asked, lambda rows: gateway_rules.is_written_off(rows, *asked)
        )

    def _asked_of_gateway(
        self, name: str, registry: tuple[Row, ...], what: Hashable, rule: Callable[[list[Attempt]], bool]
    ) -> bool:
        key = (name, registry, what)
        if key not in self._known:
            self._known[key] = rule([_attempt(row) for row in registry])
        return bool(self._known[key])

    # --- the bank ---

    def _arriving(self, world: World) -> Iterator[Step]:
        for attempt in sorted(set(world.network)):
            rest = list(world.network)
            rest.remove(attempt)
            gone = world._replace(network=tuple(rest))
            if world.faults:
                yield Step("request lost", gone._replace(faults=world.faults - 1))
            for what in (PENDING, BOOKED, REFUSED):
                there = gone._replace(bank=(*world.bank, (attempt, what)))
                if world.calling and world.calling.attempt == attempt and world.answer == NOTHING:
                    answer = self._report_number(_report(_WORD_OF[what], attempt))
                    yield Step(f"bank answers {what}", there._replace(answer=answer))
                    if world.faults:
                        lost = there._replace(answer=self._silence(world.calling), faults=world.faults - 1)
                        yield Step(f"answer {what} lost", lost)
                else:
                    yield Step(f"bank has it late, {what}", there)

    def _bank_moves(self, world: World) -> Iterator[Step]:
        is_final = self.stored(world).payment.is_final
        for number, (attempt, what) in enumerate(world.bank):
            for next_ in {PENDING: (BOOKED, REFUSED), BOOKED: (BACK,)}.get(what, ()):
                moved = world._replace(bank=_with(world.bank, number, (attempt, next_)))
                if not is_final:  # Else nobody would ask.
                    yield Step(f"bank: {what} is {next_}", moved)
                if world.faults:  # It says so unasked, sooner or later or twice.
                    yield Step(f"bank: {what} is {next_}, notice", self._noticed(moved, next_, 0))
            if world.faults and what == PENDING:  # A word that others will overtake.
                yield Step(f"bank tells {what} late", self._noticed(world, what, attempt))
            if world.faults and what in (BOOKED, REFUSED) and not world.is_fickle:
                other = REFUSED if what == BOOKED else BOOKED
                flipped = world._replace(bank=_with(world.bank, number, (attempt, other)), is_fickle=True)
                yield Step(f"bank takes back {what}", self._noticed(flipped, other, 0))
        for one in world.late:
            yield self._record(world, "hear late", one)

    def _noticed(self, world: World, what: str, attempt: int) -> World:
        number = self._report_number(_report(_WORD_OF[what], attempt))
        return world._replace(late=world.late | {number}, faults=world.faults - 1)

    # --- questions ---

    def _asking(self, world: World) -> Iterator[Step]:
        if world.asked is not None:
            status, report = world.asked
            yield self._record(world._replace(asked=None), "record question", report, status)
            return
        stored, due = self._do(world, "query", self._queried)
        if not due:
            return
        claimed = world._replace(stored=stored)
        subject = due[0]
        truth = self._truth(world, subject)
        number = self._report_number(truth)
        yield Step(f"ask: {truth.word}", claimed._replace(asked=(subject.status, number)))
        if world.faults:
            worse = claimed._replace(faults=world.faults - 1)
            unheard = worse._replace(asked=(subject.status, NOTHING))
            blind = self._report_number(_absence(world, subject, can_see=False))
            yield Step("ask: no answer", unheard)
            yield Step("ask: blind", worse._replace(asked=(subject.status, blind)))
            if self._lingers or truth.word is not W.NOT_SENT:
                yield Step(f"ask: {truth.word}, heard late", unheard._replace(late=world.late | {number}))

    def _truth(self, world: World, subject: Payment) -> StatusReport:
        attempt, release = subject.submission_attempts, subject.releases
        if self._is_written_off(world.registry, subject):
            return _report(W.NOT_SENT, attempt, release=release)
        found = max(world.bank, default=None)
        return _report(_WORD_OF[found[1]], attempt) if found else _absence(world, subject, can_see=True)

    def _queried(self, store: OneRow, now: datetime) -> list[Payment]:
        return use_cases.claim_for_query(store, now=now, limit=1, pacing=self._pacing)

    def _record(self, world: World, name: str, number: int, asked: PaymentStatus | None = None) -> Step:
        report = self._reports.things[number] if number != NOTHING else None

        def record(store: OneRow, now: datetime) -> list[ResendPermit]:
            return use_cases.record_status_reports(
                [report] if report else [],
                store,
                now=now,
                pacing=self._pacing,
                actor="m",
                asked=[replace(store.payment, status=asked)] if asked else [],
            ).permits

        stored, permits = self._do(world, "record", record, number, asked)
        after = world._replace(stored=stored)
        if asked and permits:
            permit = permits[0]
            after = after._replace(permit=self._permits.of(permit, (permit.attempt, permit.proof.queried_at)))
        return Step(f"{name}: {report.word if report else 'nothing'}", after, report)

    # --- people ---

    def _people(self, world: World) -> Iterator[Step]:
        """Two people decide on true documents, whatever the worker does meanwhile."""
        stored = self.stored(world)
        if not stored.is_in_queue:
            return
        is_under_way = world.network or world.holding or world.calling or world.delayed
        is_quiet = not (is_under_way or self._within_window(world))
        decisions = []
        if any(what in (BOOKED, BACK) for _, what in world.bank):
            decisions.append(Decision.DECLARE_SETTLED)
        if is_quiet and not world.debits:
            decisions.append(Decision.DECLARE_FAILED)
        if stored.payment.submission_attempts < ATTEMPTS_MAX:
            decisions.append(Decision.ALLOW_RESEND)
        for decision in decisions:
            number, is_decided = self._do(world, "people", partial(self._decided, decision), decision)
            if is_decided:
                yield Step(f"people: {decision}", world._replace(stored=number))

    def _decided(self, decision: Decision, store: OneRow, now: datetime) -> bool:
        status, allowed = store.payment.status, store.doubt.resend_attempt if store.doubt else 0
        try:
            for person in ("wang", "wang", "li"):
                if store.payment.status is not status or (store.doubt and store.doubt.resend_attempt != allowed):
                    raise OnePersonDecided(f"{decision} took effect on one person's word")
                proposal = Proposal(decision, "LETTER-1", "SERIAL-1", "2026-11-22", "", person, now)
                doubt_use_cases.resolve_doubt(END_TO_END_ID, proposal, store, pacing=self._pacing)
        except YinqiError:
            return False
        return True

    # --- time ---

    def _within_window(self, world: World) -> bool:
        return self.stored(world).payment.last_submitted_at == world.now

    def _time(self, world: World) -> Iterator[Step]:
        """A safe window passes. It is chosen so that whatever left for the bank has arrived or is lost by then."""
        is_quiet = not (world.network or world.holding or world.calling)
        if is_quiet and self._within_window(world) and self.stored(world).payment.status in IN_FLIGHT:
            yield Step("safe window passes", world._replace(clock=world.clock + 1))


class OnePersonDecided(Exception):
    """A decision needs two."""


def _cancelled(store: OneRow, now: datetime) -> None:
    use_cases.cancel_payments([Cancellation(END_TO_END_ID, "")], store, now=now, actor="m")


def _call(submission: Submission) -> Call:
    proof = submission.proof
    asked = NOTHING if proof is None else (proof.queried_at - NOW) // SAFE_WINDOW
    return Call(submission.attempt, submission.payment.releases, asked)


def _with_row(world: World, call: Call, state: SendState) -> World:
    """As `SqlRegistry.claim`: attempts that never left make room."""
    kept = [row for row in world.registry if row.state is not SendState.NOT_SENT]
    return world._replace(registry=(*kept, Row(call.attempt, state, call.release, world.clock)))


_INSTRUCTION = Instruction(END_TO_END_ID, "755", "", "622", Money("CNY", 1))
_DIGEST = _INSTRUCTION.digest()


def _attempt(row: Row) -> Attempt:
    at = NOW + row.clock * SAFE_WINDOW
    money = _INSTRUCTION.amount
    return Attempt(KEY, row.attempt, row.state, "bank", "755", "622", money, _DIGEST, "EX", at, release=row.release)


def _submission(call: Call) -> GatewaySubmission:
    asked_at = NOW + call.asked * SAFE_WINDOW
    proof = GatewayProof(asked_at, "ARC", "PI-CONTROL", True, SAFE_WINDOW // timedelta(milliseconds=1))
    return GatewaySubmission(KEY, call.attempt, _INSTRUCTION, resend_proof=proof, release=call.release)


def _absence_of(call: Call) -> Absence:
    return Absence(KEY, "ARC", NOW + call.asked * SAFE_WINDOW, "PI-CONTROL", True)


def _absence(world: World, subject: Payment, *, can_see: bool) -> StatusReport:
    proof = NotFoundProof(world.now, "ARC", "PI-CONTROL", can_see, SAFE_WINDOW)
    return _report(W.NOT_FOUND, subject.submission_attempts, proof=proof)


def _proof_key(proof: NotFoundProof | None) -> Hashable:
    return (proof.queried_at, proof.control_seen) if proof else ()


def _with(bank: tuple[tuple[int, str], ...], number: int, record: tuple[int, str]) -> tuple[tuple[int, str], ...]:
    return (*bank[:number], record, *bank[number + 1 :])

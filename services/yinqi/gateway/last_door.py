"""The last door: what people did not sign and approve does not leave, whatever a sister service or its database says.

The gateway judges by its own copy of the policy and of everybody's keys, pays the very line that was signed, and keeps its
own record of what it let out: one line goes out under one instruction_id, and sums to a creditor are its own sums.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple, Protocol

import structlog
from google.protobuf.message import DecodeError
from sqlalchemy import Connection

from yinqi.api.payment.v1 import payment_pb2
from yinqi.gateway import mapping
from yinqi.gateway.model import NoticeEvent, StatusReport, Submission
from yinqi.gateway.profile import Profiles
from yinqi.gateway.release_store import Release, SqlReleases
from yinqi.gateway.repository import SqlStore
from yinqi.gateway.status import BankStatus
from yinqi.kernel.clock import Clock
from yinqi.kernel.errors import InvalidRequest
from yinqi.orders.evidence import Evidence, Line, check_orders, judge_lines, payable_of, reason_of, words_of
from yinqi.orders.policy import Payable, Verdict
from yinqi.orders.policy_file import PolicyInvalid, SignedPolicy
from yinqi.orders.policy_watch import PolicyInForce
from yinqi.runtime.database import Database

_log = structlog.get_logger(__name__)
_EVENT_TYPE = "LAST_DOOR"
_REASON_PREFIX = "LAST_DOOR_"
_POLICY_REFUSED = _REASON_PREFIX + "POLICY_REFUSED"
_TOLD_MAX = 32
_OWN_WORDS = {
    "LINE_DIFFERS": "what was to be sent is not the line that was signed 拟发送内容与签名明细不一致",
    "LINE_RELEASED_BEFORE": "this end_to_end_id went out under another instruction_id before 该业务参考号此前已以其他指令放行",
    "EXECUTION_DATE_AHEAD": "its execution date is to come 未到期望付款日",
}
Pair = tuple[str, str, str]  # debtor account, creditor account, currency
Found = Verdict | str


class Door(Protocol):
    """Says what may not leave."""

    async def admit(self, submissions: Sequence[Submission], orders: Sequence[Evidence]) -> dict[str, StatusReport]:
        """Return a NOT_SENT report for each submission that may not leave, by instruction_id."""
        ...

    async def alarm(self, submissions: Sequence[Submission], reason: str) -> None:
        """Raise an alert because a whole call was refused for what it says of its lines."""
        ...


class _Asked(NamedTuple):
    """A submission with the line it presents, read; None if it presents none that can be read."""

    submission: Submission
    message: payment_pb2.PaymentInstruction | None


class LastDoor:
    """Implements `Door` by the signed policy in force; one call is judged by one version of it."""

    def __init__(self, policy: PolicyInForce, profiles: Profiles, database: Database, clock: Clock) -> None:
        self.policy = policy
        self._profiles = profiles
        self._database = database
        self._clock = clock

    async def admit(self, submissions: Sequence[Submission], orders: Sequence[Evidence]) -> dict[str, StatusReport]:
        now, signed = self._clock.now(), self.policy.current
        refused: dict[str, Found] = await self._database.run(
            lambda connection: self._admit(submissions, orders, signed, connection, now)
        )
        for reason, count in Counter(map(reason_of, refused.values())).items():
            _log.error("the last door stays shut", reason=reason, payments=count)
        return {key: _report(key, found, now) for key, found in refused.items()}

    async def alarm(self, submissions: Sequence[Submission], reason: str) -> None:
        now, refused = self._clock.now(), {one.instruction_id: reason for one in submissions}
        await self._database.run(lambda connection: self._tell(refused, submissions, connection, now))
        _log.error("the last door stays shut", reason=reason, payments=len(refused))

    async def look_at_policy(self) -> None:
        """Take up a new version of the policy; one that cannot be used raises an alert, and the old one stays."""
        try:
            found = await asyncio.to_thread(self.policy.look)
        except PolicyInvalid as error:
            now, before = self._clock.now(), self.policy.current.policy.version
            _log.error("policy refused; the old one stays in force", policy_version=before, message=error.message)
            event = NoticeEvent("-", "", now, f"policy version {before}", _EVENT_TYPE, _POLICY_REFUSED)
            await self._database.run(lambda connection: SqlStore(connection).notices.append([event]))
            return
        if found is not None:
            _log.warning("a new policy is in force", policy_version=found.policy.version, signers=len(found.signers))

    def _admit(
        self,
        submissions: Sequence[Submission],
        orders: Sequence[Evidence],
        signed: SignedPolicy,
        connection: Connection,
        now: datetime,
    ) -> dict[str, Found]:
        releases = SqlReleases(connection)
        asked = [_Asked(one, _line_of(one)) for one in submissions]
        known = releases.lock_and_find([one.message.end_to_end_id for one in asked if one.message is not None])
        refused: dict[str, Found] = {
            one.submission.instruction_id: why for one in asked if (why := self._differs(one, known))
        }
        fit = [one for one in asked if one.submission.instruction_id not in refused and one.message is not None]
        verdicts = self._judge(fit, orders, signed, releases, now)
        new: list[Release] = []
        for one, verdict in zip(fit, verdicts, strict=True):
            key = one.submission.instruction_id
            if reason_of(verdict):
                refused[key] = verdict
            elif one.message is not None and known.setdefault(one.message.end_to_end_id, key) != key:
                refused[key] = "LINE_RELEASED_BEFORE"  # twice in this very call
            elif one.message is not None:
                new.append(_release(one.submission, one.message, now))
        releases.add(new)
        self._tell(refused, submissions, connection, now)
        return refused

    def _differs(self, asked: _Asked, known: Mapping[str, str]) -> str:
        submission, message = asked
        if message is None:
            return "ORDER_MISSING"
        try:
            if mapping.instruction_from(message) != submission.instruction:
                return "LINE_DIFFERS"
        except InvalidRequest:
            return "LINE_DIFFERS"
        if known.get(message.end_to_end_id, submission.instruction_id) != submission.instruction_id:
            return "LINE_RELEASED_BEFORE"
        return "EXECUTION_DATE_AHEAD" if message.requested_execution_date > self._clock.today().isoformat() else ""

    def _judge(
        self,
        fit: Sequence[_Asked],
        orders: Sequence[Evidence],
        signed: SignedPolicy,
        releases: SqlReleases,
        now: datetime,
    ) -> list[Found]:
        lines = [Line(s.order_line, s.order_digest, s.line_number) for s, _ in fit]
        sums = self._sums([one.message for one in fit if one.message is not None], signed, releases, now)

        def counted(line: Payable) -> int:
            return sums[_pair(line)] + line.minor_units

        def passed(line: Payable) -> None:
            sums[_pair(line)] += line.minor_units

        return judge_lines(lines, check_orders(orders, signed), signed, counted, now, passed)

    @staticmethod
    def _sums(
        messages: Sequence[payment_pb2.PaymentInstruction], signed: SignedPolicy, releases: SqlReleases, now: datetime
    ) -> Counter[Pair]:
        """Return what we let out to the same creditors in the window of their rule, without these very lines."""
        by_window: dict[timedelta, set[Pair]] = {}
        for line in map(payable_of, messages):
            rule = signed.policy.rule_of(line)
            if rule is not None and rule.window:
                by_window.setdefault(rule.window, set()).add(_pair(line))
        own = [message.end_to_end_id for message in messages]
        sums: Counter[Pair] = Counter()
        for window, pairs in by_window.items():
            sums |= Counter(releases.sums(pairs, now - window, own))
        return sums

    def _tell(
        self, refused: Mapping[str, Found], submissions: Sequence[Submission], connection: Connection, now: datetime
    ) -> None:
        """Raise an alert per payment, up to `_TOLD_MAX` of one reason: of a whole batch nobody reads them all."""
        by_id = {one.instruction_id: one for one in submissions}
        told: Counter[str] = Counter()
        events = []
        for key, found in refused.items():
            reason = reason_of(found)
            told[reason] += 1
            if told[reason] > _TOLD_MAX:
                continue
            account = self._profiles.account(by_id[key].instruction.debtor_account)
            profile = account.profile if account is not None else "-"
            events.append(NoticeEvent(profile, "", now, key[:32], _EVENT_TYPE, _REASON_PREFIX + reason))
        if events:
            SqlStore(connection).notices.append(events)


def open_door(
    policy_dir: str, version_file: Path, profiles: Profiles, database: Database, clock: Clock
) -> LastDoor | None:
    """Return the door under the policy of a directory; None without one: then everything a sister sends leaves.

    The highest version ever used is kept, so that an older policy, though properly signed, is refused.

    Raises:
        PolicyInvalid: the policy cannot be used; the message says why.
    """
    if not policy_dir:
        return None
    policy = PolicyInForce(Path(policy_dir), version_file)
    signed = policy.current
    _log.info("the last door is kept", policy_version=signed.policy.version, signers=len(signed.signers))
    return LastDoor(policy, profiles, database, clock)


def _line_of(submission: Submission) -> payment_pb2.PaymentInstruction | None:
    if not submission.order_line:
        return None
    try:
        return payment_pb2.PaymentInstruction.FromString(submission.order_line)
    except DecodeError:
        return None


def _release(submission: Submission, message: payment_pb2.PaymentInstruction, now: datetime) -> Release:
    return Release(
        message.end_to_end_id,
        submission.instruction_id,
        submission.order_digest.hex(),
        submission.line_number,
        *_pair(payable_of(message)),
        message.instructed_amount.minor_units,
        now,
    )


def _pair(line: Payable) -> Pair:
    return line.debtor_account, line.creditor_account, line.currency


def _report(instruction_id: str, found: Found, now: datetime) -> StatusReport:
    reason = reason_of(found)
    text = _OWN_WORDS.get(reason) or words_of(found)
    return StatusReport(instruction_id, BankStatus.NOT_SENT, now, _REASON_PREFIX + reason, reason_text=text)

"""The policy in force at work: proves orders, vouches, and serves what approvers ask. Only built where there is a policy."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime

import structlog
from sqlalchemy import Connection

from yinqi.api.payment.v1 import order_pb2, payment_service_pb2
from yinqi.kernel.clock import Clock
from yinqi.kernel.errors import FailedPrecondition
from yinqi.orders.evidence import signed_from
from yinqi.orders.policy_file import PolicyInvalid, SignedPolicy
from yinqi.orders.policy_watch import PolicyInForce
from yinqi.payment import approval_mapping
from yinqi.payment.approvals import Approver, Decided, decide_order, find_order, known_of, reconsider
from yinqi.payment.code_secrets import CodeSecrets
from yinqi.payment.model import Move, NewPayment, PaymentOrder, Position, RefusedLine, Submission
from yinqi.payment.one_time_codes import CodeState, judge_code
from yinqi.payment.order_store import SqlCodeStates, SqlOrderStore
from yinqi.payment.orders_in import ProvenOrder, Voucher, prove_order
from yinqi.payment.repository import SqlPaymentStore
from yinqi.runtime.database import Database

_log = structlog.get_logger(__name__)
_RECONSIDERED_AT_ONCE = 100


class ApprovalDesk:
    """What the payment service does under a policy; one call or transaction goes by one version of it."""

    def __init__(
        self, policy: PolicyInForce, voucher: Voucher, codes: CodeSecrets, database: Database, clock: Clock
    ) -> None:
        self.policy = policy
        self._voucher = voucher
        self._codes = codes
        self._database = database
        self._clock = clock
        self._reconsidered: SignedPolicy | None = None  # None: a process that took it up may have died before

    @property
    def signed(self) -> SignedPolicy:
        """The policy in force now."""
        return self.policy.current

    async def look_at_policy(self) -> bool:
        """Take up a new version of the policy and do what it brings about; return whether payments went on.

        One that cannot be used is told to the log, and the old one stays.
        """
        try:
            found = await asyncio.to_thread(self.policy.look)
        except PolicyInvalid as error:
            version = self.signed.policy.version
            _log.error("policy refused; the old one stays in force", policy_version=version, message=error.message)
            return False
        if found is not None:
            _log.warning("a new policy is in force", policy_version=found.policy.version, signers=len(found.signers))
        signed = self.signed
        if signed is self._reconsidered:
            return False
        went_on = await self._reconsider(signed)
        self._reconsidered = signed
        return went_on

    async def _reconsider(self, signed: SignedPolicy) -> bool:
        """Judge anew what waits: nobody may be there to decide on what needs nobody any more."""
        position: Position | None = None
        went_on = False
        now = self._clock.now()
        while orders := await self._database.read(
            lambda connection: SqlOrderStore(connection).waiting(position, _RECONSIDERED_AT_ONCE)  # noqa: B023 (awaited)
        ):
            for order in orders:
                moves = await self._database.run(
                    lambda connection: reconsider(
                        SqlPaymentStore(connection),
                        SqlOrderStore(connection),
                        signed,
                        order.record.digest,  # noqa: B023 (awaited before the next)
                        now,
                    )
                )
                went_on = went_on or bool(moves)
            position = Position(orders[-1].received_at, orders[-1].record.digest)
        return went_on

    def prove(self, request: payment_service_pb2.InitiateSignedPaymentsRequest) -> ProvenOrder:
        """Return the order of a request, proven; see `prove_order` for what it raises."""
        return prove_order(signed_from(request.order), list(request.lines), self.signed, self._clock.now())

    def refuse(self, lines: Sequence[NewPayment | RefusedLine], now: datetime) -> list[NewPayment | RefusedLine]:
        """Refuse lines that nobody signed where the policy wants a signature."""
        return self._voucher.refuse(lines, now)

    def vouch(self, new: Sequence[NewPayment], now: datetime) -> list[NewPayment]:
        """Bind payments that nobody signed to orders of our own."""
        return self._voucher.vouch(new, now)

    def approver(self, connection: Connection) -> Approver:
        """Return who judges payments in a transaction."""
        return Approver(self.signed, SqlOrderStore(connection))

    async def with_evidence(self, submissions: Sequence[Submission]) -> list[Submission]:
        """Put beside each submission the order it is a line of, for the gateway to see for itself."""

        def read(connection: Connection) -> list[Submission]:
            store = SqlOrderStore(connection)
            lines = store.lines_of([one.payment.instruction_id for one in submissions])
            evidence = store.evidence({line.order_digest for line in lines.values()})
            return [
                one._replace(line=line, evidence=evidence.get(line.order_digest))
                if (line := lines.get(one.payment.instruction_id))
                else one
                for one in submissions
            ]

        return await self._database.read(read)

    async def waiting(self, after: Position | None, limit: int) -> tuple[list[order_pb2.Approval], Position | None]:
        """Return up to `limit` orders that wait, oldest first and without their leaves, and the last one's place.

        The place is None if no more wait after it.
        """

        def read(connection: Connection) -> tuple[list[order_pb2.Approval], Position | None]:
            found = SqlOrderStore(connection).waiting(after, limit + 1)
            orders = found[:limit]
            approvals = [self._approval(connection, order).approval for order in orders]
            for approval in approvals:
                approval.evidence.ClearField("leaves")
            last = orders[-1] if len(found) > limit else None
            return approvals, Position(last.received_at, last.record.digest) if last is not None else None

        return await self._database.read(read)

    async def get(self, id_or_digest: str) -> payment_service_pb2.GetApprovalResponse:
        """Return one order with its lines. Raises NotFound."""

        def read(connection: Connection) -> payment_service_pb2.GetApprovalResponse:
            return self._approval(connection, find_order(id_or_digest, SqlOrderStore(connection), self.signed))

        return await self._database.read(read)

    async def decide(
        self, request: payment_service_pb2.DecideOrderRequest
    ) -> tuple[payment_service_pb2.DecideOrderResponse, list[Move]]:
        """Record a decision; see `decide_order` for what it raises."""
        now, signed = self._clock.now(), self.signed
        decision = approval_mapping.decision_from(request.decision)

        def decide(connection: Connection) -> tuple[payment_service_pb2.DecideOrderResponse, Decided]:
            stores = SqlPaymentStore(connection), SqlOrderStore(connection)

            def check_code(person: str) -> str:
                return self._check_code(person, request.one_time_code, SqlCodeStates(connection), now)

            decided = decide_order(request.order, decision, *stores, signed, now=now, check_code=check_code)
            approval = self._approval(connection, decided.order).approval
            return payment_service_pb2.DecideOrderResponse(approval=approval), decided

        response, decided = await self._database.run(decide)
        if decided.refused is not None:  # Raised only now: a wrong code must be on record.
            _log.warning("decision refused", reason=decided.refused.reason)
            raise decided.refused
        return response, decided.moves

    def _check_code(self, person: str, code: str, states: SqlCodeStates, now: datetime) -> str:
        if not code:
            return "ONE_TIME_CODE_NEEDED"
        secret = self._codes.secret_of(person)
        if secret is None:
            return "ONE_TIME_CODE_NOT_SET_UP"
        known = states.lock(person)
        state, reason = judge_code(code, secret, known or CodeState(), now)
        if state != known:
            states.save(person, state, is_new=known is None)
        return reason

    def _approval(self, connection: Connection, order: PaymentOrder) -> payment_service_pb2.GetApprovalResponse:
        orders, store, signed = SqlOrderStore(connection), SqlPaymentStore(connection), self.signed
        digest, now = order.record.digest, self._clock.now()
        (evidence,) = orders.evidence([digest]).values()
        ids = orders.payments_of(digest)
        places, payments = orders.lines_of(ids), store.find(ids)
        lines = [b""] * (len(evidence.leaves) // 32)
        for instruction_id, place in places.items():
            lines[place.number - 1] = payments[instruction_id].order_bytes
        known = known_of(evidence, list(payments.values()), Approver(signed, orders), signed, now)
        approval = approval_mapping.approval_to(order, evidence, list(payments.values()), known)
        return payment_service_pb2.GetApprovalResponse(approval=approval, lines=lines)


def no_policy() -> FailedPrecondition:
    """Return the error of calls that need a policy."""
    return FailedPrecondition(
        "NO_POLICY",
        "No approval policy is configured here; set YINQI_PAYMENT_POLICY_DIR (docs/signed-orders.md).",
        "未配置审批策略，请设置 YINQI_PAYMENT_POLICY_DIR。",
    )

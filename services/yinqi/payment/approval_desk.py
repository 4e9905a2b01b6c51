"""The policy in force at work: proves orders, vouches, and serves what approvers ask. Only built where there is a policy."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection

from yinqi.api.payment.v1 import payment_service_pb2
from yinqi.kernel.clock import Clock
from yinqi.kernel.errors import FailedPrecondition
from yinqi.orders.evidence import signed_from
from yinqi.orders.policy_file import SignedPolicy
from yinqi.payment import approval_mapping
from yinqi.payment.approvals import Approver, decide_order, find_order, still_missing
from yinqi.payment.model import Move, NewPayment, PaymentOrder, RefusedLine, Submission
from yinqi.payment.order_store import SqlOrderStore
from yinqi.payment.orders_in import ProvenOrder, Voucher, prove_order
from yinqi.payment.repository import SqlPaymentStore
from yinqi.payment.status import PaymentStatus
from yinqi.runtime.database import Database


class ApprovalDesk:
    """What the payment service does under a policy."""

    def __init__(self, signed: SignedPolicy, voucher: Voucher, database: Database, clock: Clock) -> None:
        self.signed = signed
        self._voucher = voucher
        self._database = database
        self._clock = clock

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

    async def waiting(self, limit: int) -> payment_service_pb2.ListApprovalsResponse:
        """Return the orders that wait, oldest first."""

        def read(connection: Connection) -> payment_service_pb2.ListApprovalsResponse:
            orders = SqlOrderStore(connection).waiting(limit)
            return payment_service_pb2.ListApprovalsResponse(
                approvals=[self._approval(connection, order).approval for order in orders]
            )

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
        now = self._clock.now()
        decision = approval_mapping.decision_from(request.decision)

        def decide(connection: Connection) -> tuple[payment_service_pb2.DecideOrderResponse, list[Move]]:
            stores = SqlPaymentStore(connection), SqlOrderStore(connection)
            order, moves = decide_order(request.order, decision, *stores, self.signed, now=now)
            approval = self._approval(connection, order).approval
            return payment_service_pb2.DecideOrderResponse(approval=approval), moves

        return await self._database.run(decide)

    def _approval(self, connection: Connection, order: PaymentOrder) -> payment_service_pb2.GetApprovalResponse:
        orders, store = SqlOrderStore(connection), SqlPaymentStore(connection)
        digest = order.record.digest
        (evidence,) = orders.evidence([digest]).values()
        ids = orders.payments_of(digest)
        places, payments = orders.lines_of(ids), store.find(ids)
        waiting = [p for p in payments.values() if p.status is PaymentStatus.AWAITING_APPROVAL]
        standings = self.approver(connection).standings(waiting, self._clock.now())
        lines = [b""] * (len(evidence.leaves) // 32)
        for instruction_id, place in places.items():
            lines[place.number - 1] = payments[instruction_id].order_bytes
        missing = still_missing(list(standings.values()))
        approval = approval_mapping.approval_to(order, evidence, list(payments.values()), missing)
        return payment_service_pb2.GetApprovalResponse(approval=approval, lines=lines)


def no_policy() -> FailedPrecondition:
    """Return the error of calls that need a policy."""
    return FailedPrecondition(
        "NO_POLICY",
        "No approval policy is configured here; set YINQI_PAYMENT_POLICY_DIR (docs/signed-orders.md).",
        "未配置审批策略，请设置 YINQI_PAYMENT_POLICY_DIR。",
    )

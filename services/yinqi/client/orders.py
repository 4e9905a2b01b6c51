"""Build, sign and hand in orders; follow what becomes of them."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Self

from yinqi.api.payment.v1 import order_pb2, payment_pb2, payment_service_pb2, payment_service_pb2_grpc
from yinqi.client.shown import ShownOrder, shown_order
from yinqi.kernel.clock import Clock, SystemClock
from yinqi.kernel.ids import RandomBytes
from yinqi.orders.evidence import signed_to
from yinqi.orders.keys import PrivateKey
from yinqi.orders.order import NewOrder, OrderInvalid, sign_decision, sign_order
from yinqi.runtime.grpc_client import open_channel
from yinqi.runtime.settings import Settings, load_settings

ROLES = "payment_initiator,payment_viewer,payment_approver"


def new_order(
    order_id: str,
    instructions: Sequence[payment_pb2.PaymentInstruction],
    *,
    company: str,
    key: PrivateKey,
    lifetime: timedelta = timedelta(hours=1),
    clock: Clock | None = None,
    random_bytes: RandomBytes = secrets.token_bytes,
) -> NewOrder:
    """Make and sign an order over 1 to 10,000 payments.

    Keep it until it is answered: handed in again it is the same order, made anew it is another.
    """
    return sign_order(
        order_id,
        [one.SerializeToString() for one in instructions],
        company=company,
        key=key,
        now=(clock or SystemClock()).now(),
        lifetime=lifetime,
        random_bytes=random_bytes,
    )


class OrderClient:
    """A line to the payment service; use it with `async with`. Every call may be repeated.

    Args:
        address: host:port of the payment service.
        identity: who calls.
    """

    def __init__(
        self, address: str, *, identity: str, settings: Settings | None = None, clock: Clock | None = None
    ) -> None:
        self._clock = clock or SystemClock()
        self._channel = open_channel(
            address, service_name=identity, settings=settings or load_settings(Settings), roles=ROLES
        )
        self._stub = payment_service_pb2_grpc.PaymentServiceStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()

    async def submit(
        self, order: NewOrder, timeout_s: float = 30.0
    ) -> payment_service_pb2.InitiateSignedPaymentsResponse:
        """Hand an order in; after a time-out hand the same order in again.

        Raises:
            grpc.aio.AioRpcError: INVALID_ARGUMENT and ALREADY_EXISTS are final; the details say why in words.
        """
        request = payment_service_pb2.InitiateSignedPaymentsRequest(order=signed_to(order.signed), lines=order.lines)
        return await self._stub.InitiateSignedPayments(request, timeout=timeout_s)

    async def follow(self, after: int = 0) -> AsyncIterator[payment_pb2.PaymentEvent]:
        """Yield every payment's events after a sequence, then live ones."""
        request = payment_service_pb2.FollowPaymentsRequest(after_sequence=after)
        async for response in self._stub.FollowPayments(request):
            for event in response.events:
                yield event

    async def approvals(self) -> Sequence[order_pb2.Approval]:
        """Return the orders that wait for decisions, oldest first, read page by page."""
        found: list[order_pb2.Approval] = []
        token = ""
        while True:
            request = payment_service_pb2.ListApprovalsRequest(page_token=token)
            response = await self._stub.ListApprovals(request)
            found += response.approvals
            token = response.next_page_token
            if not token:
                return found

    async def show(self, order: str) -> ShownOrder:
        """Return an order by id or digest as proven here: the text is made from the bytes that were signed.

        Raises:
            OrderInvalid: what the service showed is not what was signed. Decide nothing; raise the alarm.
        """
        request = payment_service_pb2.GetApprovalRequest(order=order)
        return shown_order(await self._stub.GetApproval(request))

    async def decide(
        self, shown: ShownOrder, key: PrivateKey, *, approves: bool, one_time_code: str = ""
    ) -> order_pb2.Approval:
        """Sign a decision over the order and the text that was shown, and hand it in.

        Args:
            one_time_code: six digits, where `shown.approval.needs_one_time_code`.
        Raises:
            OrderInvalid: LINES_HIDDEN; an approval would cover lines that nobody has seen. Let the maker sign anew.
        """
        if approves and shown.hidden:
            raise OrderInvalid(
                "LINES_HIDDEN",
                f"{shown.hidden} lines of order {shown.order.order_id} are not shown: they were refused on intake, or "
                "somebody hides them. Refuse the order, and let its maker sign a new one without them.",
                f"有 {shown.hidden} 笔明细未显示，不能同意；请拒绝并由经办重新制单。",
            )
        signed = sign_decision(shown.digest, approves=approves, shown=shown.text, key=key, now=self._clock.now())
        decision = order_pb2.SignedDecision(decision=signed.content, key_id=signed.key_id, signature=signed.signature)
        request = payment_service_pb2.DecideOrderRequest(
            order=shown.digest.hex(), decision=decision, one_time_code=one_time_code
        )
        return (await self._stub.DecideOrder(request)).approval

"""The payment's own story: which spans are written when. No decision depends on any of it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from yinqi.kernel.clock import epoch_ns
from yinqi.payment.model import Payment
from yinqi.runtime import attributes
from yinqi.runtime.telemetry import Telemetry


def _ns(instant: datetime) -> int:
    return int(instant.timestamp() * 1_000_000) * 1_000


def _attributes_of(payment: Payment) -> dict[str, str | int]:
    found: dict[str, str | int] = {
        attributes.END_TO_END_ID: payment.end_to_end_id,
        attributes.INSTRUCTION_ID: payment.instruction_id,
        attributes.PAYMENT_STATUS: payment.status.value,
    }
    if payment.reason_code:
        found[attributes.STATUS_REASON] = payment.reason_code
    if payment.submission_attempts:
        found[attributes.ATTEMPT] = payment.submission_attempts
    if payment.account_servicer_reference:
        found[attributes.ACCOUNT_SERVICER_REFERENCE] = payment.account_servicer_reference
    return found


def write_roots(telemetry: Telemetry, payments: Iterable[Payment]) -> None:
    """Write the root span of each payment that came in a batch call, from acceptance until now.

    Acceptance itself writes none: 15,000 lines a second would spend more on spans than on rows. A payment of a
    unary call has that call's server span as its root.
    """
    if not telemetry.enabled:
        return
    for payment in payments:
        if payment.initiation_traceparent:
            telemetry.emit_span(
                "payment",
                traceparent_of_span=payment.traceparent,
                start_ns=_ns(payment.received_at),
                attributes=_attributes_of(payment),
                links=[payment.initiation_traceparent],
            )


def write_steps(
    telemetry: Telemetry, name: str, payments: Iterable[Payment], *, start_ns: int, batch_traceparent: str
) -> None:
    """Write one step of each payment into its own trace, linked to the batch step it was part of."""
    if not telemetry.enabled:
        return
    end_ns = epoch_ns()
    links = [batch_traceparent] if batch_traceparent else []
    for payment in payments:
        telemetry.emit_span(
            name,
            parent_traceparent=payment.traceparent,
            start_ns=start_ns,
            end_ns=end_ns,
            attributes=_attributes_of(payment),
            links=links,
        )

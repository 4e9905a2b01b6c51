"""What the account service adds to a payment's story: spans, written after the commit they tell of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from yinqi.account.model import Booked
from yinqi.account.statement import StatementEntry
from yinqi.kernel.clock import epoch_ns
from yinqi.runtime import attributes
from yinqi.runtime.telemetry import Telemetry

_LINKS_MAX = 128


def tell_booked(telemetry: Telemetry, booked: Sequence[Booked], start_ns: int) -> None:
    """Write a span for the batch, and one in each payment's own trace that links to it."""
    told = [b for b in booked if b.transactions and b.move.traceparent]
    if not telemetry.enabled or not told:
        return
    end_ns = epoch_ns()
    batch = telemetry.emit_span(
        "account.book_batch",
        start_ns=start_ns,
        end_ns=end_ns,
        attributes={attributes.BATCH_SIZE: len(booked), attributes.FEED_NAME: "payment"},
        links=[b.move.traceparent for b in told[:_LINKS_MAX]],
    )
    for b in told:
        telemetry.emit_span(
            "account.book",
            parent_traceparent=b.move.traceparent,
            start_ns=start_ns,
            end_ns=end_ns,
            attributes={
                attributes.INSTRUCTION_ID: b.move.instruction_id,
                attributes.PAYMENT_STATUS: b.move.status,
                attributes.BOOKING_DATE: b.transactions[-1].booking_date.isoformat(),
                "yinqi.ledger.transactions": ",".join(t.kind.value for t in b.transactions),
            },
            links=[batch],
        )


def tell_entries(
    telemetry: Telemetry,
    entries: Iterable[StatementEntry],
    payment_traceparents: Mapping[str, str],
    brought_by: str,
    start_ns: int,
) -> None:
    """Write a span in the trace of each payment whose entry the bank's statement brought.

    Args:
        payment_traceparents: by instruction_id.
        brought_by: traceparent of the fetch or import.
    """
    if not telemetry.enabled:
        return
    for entry in entries:
        traceparent = payment_traceparents.get(entry.instruction_id, "")
        if traceparent:
            telemetry.emit_span(
                "account.entry",
                parent_traceparent=traceparent,
                start_ns=start_ns,
                attributes={
                    attributes.INSTRUCTION_ID: entry.instruction_id,
                    attributes.ACCOUNT_SERVICER_REFERENCE: entry.account_servicer_reference,
                    attributes.BOOKING_DATE: entry.booking_date.isoformat(),
                    "yinqi.statement.credit_debit_indicator": entry.indicator.value,
                    "yinqi.statement.source": entry.source,
                },
                links=[brought_by],
            )

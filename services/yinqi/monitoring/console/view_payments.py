"""The list of payments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from yinqi.api.payment.v1 import payment_pb2, payment_service_pb2
from yinqi.monitoring.console.markup import Safe, div, join, span, tag
from yinqi.monitoring.console.parts import (
    GROUPS,
    Column,
    Row,
    amount,
    clock_time,
    link,
    money,
    payment_path,
    status_badge,
    table,
)
from yinqi.monitoring.console.words import Words
from yinqi.monitoring.masking import mask_account

STATUSES = tuple(
    value.name.removeprefix("PAYMENT_STATUS_")
    for value in payment_pb2.PaymentStatus.DESCRIPTOR.values
    if value.number != payment_pb2.PAYMENT_STATUS_UNSPECIFIED
)
PAGE_SIZES = (25, 50, 100)
_COLUMNS = (
    Column("payments.time"),
    Column("payments.end_to_end_id"),
    Column("payments.creditor_column", "wide"),
    Column("payments.amount", "number"),
    Column("payments.status"),
    Column("payments.batch"),
)


@dataclass(frozen=True, slots=True)
class Search:
    """What the reader looks for; it lives in the address, so that a list can be sent to a colleague.

    Attributes:
        choice: a status, "group:<name>", or "" for any.
    """

    choice: str = ""
    creditor: str = ""
    batch: str = ""
    page_size: int = PAGE_SIZES[0]

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> Search:
        """Read the address; what is not understood is left out."""
        group, status = query.get("group", ""), query.get("status", "")
        statuses = GROUPS.get(group, ())
        if len(statuses) == 1:  # A group of one is that status, so the selection offers it only once.
            status = statuses[0]
        choice = f"group:{group}" if len(statuses) > 1 else status if status in STATUSES else ""
        size = query.get("size", "")
        page_size = int(size) if size in map(str, PAGE_SIZES) else PAGE_SIZES[0]
        return cls(choice, query.get("creditor", "")[:140], query.get("batch", "")[:70], page_size)

    def path(self) -> str:
        """Return the address of this search."""
        group = self.choice.removeprefix("group:") if self.choice.startswith("group:") else ""
        size = str(self.page_size) if self.page_size != PAGE_SIZES[0] else ""
        given = {
            "group": group,
            "status": "" if group else self.choice,
            "creditor": self.creditor,
            "batch": self.batch,
            "size": size,
        }
        query = urlencode({key: value for key, value in given.items() if value})
        return f"/payments?{query}" if query else "/payments"

    def filter(self) -> payment_service_pb2.PaymentFilter:
        """Return what the payment service is asked for."""
        statuses = GROUPS.get(self.choice.removeprefix("group:"), (self.choice,) if self.choice else ())
        return payment_service_pb2.PaymentFilter(
            statuses=[payment_pb2.PaymentStatus.Value(f"PAYMENT_STATUS_{status}") for status in statuses],
            creditor_name=self.creditor,
            payment_information_id=self.batch,
        )


def choices(words: Words) -> dict[str, str]:
    """Return what the status selection offers."""
    groups = {f"group:{group}": words(f"group.{group}") for group, statuses in GROUPS.items() if len(statuses) > 1}
    statuses = {status: words(f"status.{status}") for status in STATUSES}
    return {"": words("payments.any"), **groups, **statuses}


def totals_line(counts: Sequence[payment_service_pb2.PaymentCount], words: Words) -> Safe:
    """Return number and sums of everything the search finds, not of the page alone."""
    sums: dict[str, int] = {}
    for row in counts:
        sums[row.currency] = sums.get(row.currency, 0) + row.minor_units
    count = sum(row.count for row in counts)
    amounts = [amount(currency, minor_units) for currency, minor_units in sorted(sums.items())]
    return div(span(words("payments.count", count=f"{count:,}"), cls="yq-strong"), *amounts, cls="yq-totals")


def payments_table(payments: Sequence[payment_pb2.Payment], words: Words) -> Safe:
    """Return a page of payments; a click leads to the story."""
    return table(_COLUMNS, [_row(payment, words) for payment in payments], words)


def _row(payment: payment_pb2.Payment, words: Words) -> Row:
    order = payment.instruction
    path = payment_path(payment.instruction_id)
    creditor = join(
        (
            div(order.creditor.name, cls="yq-ellipsis", title=order.creditor.name),
            div(mask_account(order.creditor_account.identification), cls="yq-code yq-muted"),
        )
    )
    batch = order.payment_information_id
    reason = payment.status_reason
    shown_reason = reason.text or reason.code
    return Row(
        (
            span(clock_time(payment.received_at), cls="yq-nowrap"),
            tag("a", order.end_to_end_id, href=path, cls="yq-link yq-code yq-ellipsis-id", title=order.end_to_end_id),
            creditor,
            money(order.instructed_amount),
            join(
                (
                    status_badge(payment.status, words),
                    div(shown_reason, cls="yq-muted yq-small") if shown_reason else "",
                )
            ),
            link(Search(batch=batch).path(), batch, cls="yq-link yq-quiet yq-ellipsis-short") if batch else "",
        ),
        href=path,
    )

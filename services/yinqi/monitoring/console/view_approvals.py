"""Orders that wait for approvers: what each is, who agreed, who could, and how to decide with a key the server never sees."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from yinqi.api.payment.v1 import order_pb2, payment_pb2
from yinqi.client.shown import ShownOrder
from yinqi.kernel.clock import BANK_ZONE
from yinqi.kernel.errors import YinqiError
from yinqi.monitoring.console.markup import Safe, div, join, span
from yinqi.monitoring.console.parts import (
    Column,
    Row,
    amount,
    badge,
    clock_time,
    copyable,
    facts,
    instant,
    money,
    notice,
    status_badge,
    table,
)
from yinqi.monitoring.console.words import Words
from yinqi.monitoring.masking import mask_account, mask_name
from yinqi.orders.evidence import signed_from
from yinqi.orders.order import Order, read_order

LINES_SHOWN_MAX = 200
_COLUMNS = (
    Column("approvals.waits_since"),
    Column("approvals.one", "wide"),
    Column("approvals.total", "number"),
    Column("approvals.given"),
    Column("approvals.missing", "wide"),
)
_LINE_COLUMNS = (
    Column("payments.end_to_end_id"),
    Column("payments.creditor_column", "wide"),
    Column("payments.amount", "number"),
    Column("story.remittance", "wide"),
)


def approval_path(digest: str) -> str:
    """Return where an order is."""
    return f"/approvals/{quote(digest, safe='')}"


def approvals_table(approvals: Sequence[order_pb2.Approval], words: Words) -> Safe:
    """Return what waits, oldest first; each leads to its payments and to how to decide."""
    return table(_COLUMNS, [_row(approval, words) for approval in approvals], words, empty="approvals.none")


def _row(approval: order_pb2.Approval, words: Words) -> Row:
    order = _order_of(approval)
    totals = sorted(order.totals.items()) if order is not None else ()
    more = order.line_count - 1 if order is not None else 0
    return Row(
        (
            span(clock_time(approval.received_at), cls="yq-nowrap"),
            join(
                (
                    div(order.order_id if order is not None else approval.order_digest[:16], cls="yq-strong"),
                    div(
                        approval.largest_creditor,
                        " ",
                        words("approvals.and_more", count=more, total=more + 1) if more > 0 else "",
                    ),
                    div(words("approvals.maker"), " ", approval.maker, cls="yq-muted yq-small"),
                    div(approval.order_digest[:16], "…", cls="yq-code yq-muted"),
                )
            ),
            join(div(amount(currency, units)) for currency, units in totals),
            _given(approval, words),
            _missing(approval, words),
        ),
        href=approval_path(approval.order_digest),
    )


def _order_of(approval: order_pb2.Approval) -> Order | None:
    try:
        return read_order(signed_from(approval.evidence.order))
    except YinqiError:  # Its row was changed since: it is listed so that people see it.
        return None


def _given(approval: order_pb2.Approval, words: Words) -> Safe:
    people = [one.person for one in approval.given if one.decision == order_pb2.DECISION_APPROVE and one.counts]
    return join(div(badge(person, "settled")) for person in people) or span(
        words("approvals.nobody_yet"), cls="yq-muted"
    )


def _missing(approval: order_pb2.Approval, words: Words) -> Safe:
    lines = [
        div(
            span(words("approvals.missing_one", count=one.count, role=one.role), cls="yq-strong"),
            div(" / ".join(one.people) or words("approvals.nobody"), cls="yq-muted yq-small"),
            data_missing=one.role,
        )
        for one in approval.missing
    ]
    code = div(badge(words("approvals.code"), "unknown")) if approval.needs_one_time_code and lines else ""
    obstacles = (div(badge(one.reason, "rejected"), " ", one.text, cls="yq-small") for one in approval.obstacles)
    return join((*lines, code, *obstacles)) or span(words("approvals.nothing_missing"), cls="yq-muted")


def order_facts(shown: ShownOrder, words: Words) -> Safe:
    """Return what was signed, and where its payments stand."""
    order, approval = shown.order, shown.approval
    vouched = f"{order.vouched_for} ({order.key_id})" if order.vouched_for else approval.maker
    return facts(
        (
            ("approvals.one", span(order.order_id, cls="yq-strong")),
            ("approvals.company", order.company),
            ("approvals.maker", vouched),
            ("approvals.key", "" if order.vouched_for else order.key_id),
            ("approvals.created", order.created_at.astimezone(BANK_ZONE).strftime("%Y-%m-%d %H:%M:%S")),
            ("approvals.total", join(div(amount(c, units)) for c, units in sorted(order.totals.items()))),
            ("approvals.lines", order.line_count),
            ("approvals.status", join(_count(one, words) for one in approval.counts)),
            (
                "story.debtor_account",
                ", ".join(sorted({mask_account(line.debtor_account.identification) for line in shown.lines})),
            ),
            ("approvals.digest", copyable(shown.digest.hex(), words)),
        ),
        words,
    )


def _count(one: order_pb2.ApprovalCount, words: Words) -> Safe:
    return join((status_badge(one.status, words), f" {one.count} "))


def lines_table(shown: ShownOrder, words: Words) -> Safe:
    """Return the signed lines, largest first; who gets wages is masked, the command shows it to the approver."""
    largest = sorted(shown.lines, key=lambda line: -line.instructed_amount.minor_units)[:LINES_SHOWN_MAX]
    hidden = notice(words("approvals.hidden", count=shown.hidden), "error") if shown.hidden else ""
    count = words("approvals.largest", shown=len(largest), count=len(shown.lines))
    return join(
        (
            div(words("approvals.proven"), cls="yq-small", data_proven=len(shown.lines)),
            hidden,
            table(_LINE_COLUMNS, [_line(line) for line in largest], words),
            div(count, cls="yq-muted yq-small") if len(largest) < len(shown.lines) else "",
        )
    )


def _line(line: payment_pb2.PaymentInstruction) -> Row:
    is_wage = line.category_purpose == payment_pb2.CATEGORY_PURPOSE_SALA
    account = line.creditor_account.identification
    return Row(
        (
            span(line.end_to_end_id, cls="yq-code"),
            join(
                (
                    div(mask_name(line.creditor.name) if is_wage else line.creditor.name, cls="yq-strong"),
                    div(mask_account(account) if is_wage else account, cls="yq-code yq-muted"),
                )
            ),
            money(line.instructed_amount),
            join(
                (
                    div(line.remittance_information),
                    div(line.requested_execution_date, cls="yq-muted yq-small yq-nowrap"),
                )
            ),
        )
    )


def decisions_of(shown: ShownOrder, words: Words) -> Safe:
    """Return who decided what, and who is waited for."""
    given = [
        div(
            span(one.person, cls="yq-strong"),
            " ",
            words(f"approvals.decision.{order_pb2.Decision.Name(one.decision).removeprefix('DECISION_')}"),
            " ",
            span(instant(one.decided_at), cls="yq-muted yq-small"),
            "" if one.counts else div(words("approvals.no_longer"), cls="yq-small"),
            cls="yq-decision",
            data_given=one.person,
        )
        for one in shown.approval.given
    ]
    missing = div(div(words("approvals.missing"), cls="yq-muted yq-small"), _missing(shown.approval, words))
    return join((*given, div(missing, cls="yq-decision")))


def commands(shown: ShownOrder, words: Words) -> Safe:
    """Return what to type on one's own machine; the digest in it names these very bytes."""
    order = shown.digest.hex()
    ways = [("show", ""), ("give", "--key … --key-id …"), ("refuse", "--key … --key-id …")]
    if shown.hidden:
        del ways[1]
    return join(
        (
            div(words("approvals.how.why"), cls="yq-small"),
            *(
                div(
                    div(words(f"approvals.how.{way}"), cls="yq-strong"),
                    div(copyable(f"yinqi approve {way} {order} {own_key}".strip(), words)),
                    cls="yq-decision",
                    data_way=way,
                )
                for way, own_key in ways
            ),
        )
    )

"""What a hostile insider does to the payment service: raw SQL on every table of its database, and calls under its certificate."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

from yinqi.api.gateway.v1 import gateway_pb2
from yinqi.api.payment.v1 import payment_pb2
from yinqi.client import NewOrder
from yinqi.orders.evidence import Evidence
from yinqi.orders.keys import PrivateKey, Signed
from yinqi.orders.line_tree import joined
from yinqi.orders.order import sign_decision


class Edit(NamedTuple):
    """Raw SQL about one payment that waits for approval; afterwards it is set APPROVED and due.

    Attributes:
        sql: {id} is the payment's instruction_id, {order} its order's digest.
        door: how the last door calls what it then sees. That door catches every edit.
        in_journal: the edit touches a sealed journal, so `yinqi audit verify` names the row as well.
    """

    table: str
    sql: str
    door: str
    in_journal: bool = False


_SHUT = "APPROVALS_MISSING"
EDITS = (
    Edit("payments", "UPDATE payments SET amount_minor_units = amount_minor_units * 10 WHERE instruction_id = {id}", "CONTROL_TOTALS_MISMATCH"),
    Edit("payments", "UPDATE payments SET creditor_account = '6225880000000000', creditor_name = '小偷' WHERE instruction_id = {id}", _SHUT),
    Edit("payments", "UPDATE payments SET order_bytes = CAST(REPLACE(CAST(order_bytes AS TEXT), '6225881', '6225880') AS BLOB) "
         "WHERE instruction_id = {id}", "LINE_NOT_SIGNED"),
    Edit("payments", "UPDATE payments SET status = 'APPROVED', reason_code = '' WHERE instruction_id = {id}", _SHUT),
    Edit("payments", "UPDATE payments SET request_hash = zeroblob(32), releases = releases + 1 WHERE instruction_id = {id}", _SHUT),
    Edit("payment_orders", "UPDATE payment_orders SET leaves = zeroblob(length(leaves)) WHERE order_digest = {order}", "LEAVES_NOT_SIGNED"),
    Edit("payment_orders", "UPDATE payment_orders SET signature = zeroblob(64) WHERE order_digest = {order}", "ORDER_SIGNATURE_INVALID"),
    Edit("payment_orders", "UPDATE payment_orders SET key_id = 'li-key' WHERE order_digest = {order}", "ORDER_SIGNATURE_INVALID"),
    Edit("payment_orders", "DELETE FROM payment_orders WHERE order_digest = {order}", "ORDER_MISSING"),
    Edit("payment_order_lines", "UPDATE payment_order_lines SET line_number = 7, order_digest = "
         "(SELECT order_digest FROM payment_order_decisions LIMIT 1) WHERE instruction_id = {id}", "LINE_NOT_SIGNED"),
    Edit("payment_order_lines", "UPDATE payment_order_lines SET amount_minor_units = 1, received_at = '1999-01-01' "
         "WHERE instruction_id = {id}", _SHUT),
    Edit("payment_order_lines", "DELETE FROM payment_order_lines WHERE instruction_id = {id}", "ORDER_MISSING"),
    Edit("payment_order_decisions", "INSERT INTO payment_order_decisions SELECT {order}, key_id, decision_bytes, signature, recorded_at "
         "FROM payment_order_decisions LIMIT 1", _SHUT),
    Edit("payment_order_decisions", "INSERT INTO payment_order_decisions SELECT {order}, 'wang-key', zeroblob(80), zeroblob(64), recorded_at "
         "FROM payment_order_decisions LIMIT 1", _SHUT),
    Edit("payment_events", "UPDATE payment_events SET to_status = 'APPROVED', actor = 'approver:li' WHERE instruction_id = {id}", _SHUT, True),
    Edit("resend_permits", "INSERT INTO resend_permits SELECT 7, {id}, 1, received_at, received_at, received_at, 'A', 'C', 1, 'thief' "
         "FROM payments WHERE instruction_id = {id}", _SHUT),
    Edit("payment_one_time_codes", "INSERT INTO payment_one_time_codes VALUES ('li', 0, 0, NULL)", _SHUT),
    Edit("feed_cursor", "UPDATE feed_cursor SET sequence = 0", _SHUT),
    Edit("payment_doubts", "INSERT INTO payment_doubts SELECT {id}, 'QUERIES_EXHAUSTED', 1, received_at, NULL, '', NULL, '', '', 0, 0, "
         "'ALLOW_RESEND', 'D', '', '', '', 'thief', received_at, 1 FROM payments WHERE instruction_id = {id}", _SHUT),
    Edit("payment_schema_revision", "UPDATE payment_schema_revision SET version_num = version_num || ''", _SHUT),
)  # fmt: skip
# Tables that are there once fields are sealed at rest; this house keeps them in clear, so that SQL can say what it changes.
OF_SEALING = (
    Edit("data_keys", "DELETE FROM data_keys", _SHUT),
    Edit("sealed_numbers", "DELETE FROM sealed_numbers", _SHUT),
)
# Not edited while the service runs: it would end itself (fail stop). Edited when it is down, and found by the audit alone.
SEALS = "UPDATE journal_seals SET hash = zeroblob(32) WHERE position = (SELECT max(position) FROM journal_seals)"
SEAL_TABLES = frozenset({"journal_seals"})


class Call(NamedTuple):
    """One call of a patched payment service, and how the last door refuses it."""

    words: str
    submission: gateway_pb2.Submission
    orders: list[Evidence]
    reason: str


def calls(approved: NewOrder, approval: Signed, paid: NewOrder, paid_id: str, paid_approval: Signed,
          unapproved: NewOrder, refused: Signed, now: datetime) -> Iterator[Call]:  # fmt: skip
    """What a patched payment service that skips approval may think of.

    Args:
        approved: an order that people approved, held back by the thief; `refused`: another approver's refusal of it.
        paid: one that was approved and went out as `paid_id`.
        unapproved: one that its maker signed and nobody approved.
    """
    whole = evidence(approved, approval)
    richer = changed(approved, minor_units=49_000_00)
    thief = changed(approved, account="6225889900112233")
    forged = PrivateKey.generate("li-key")
    yield Call("no order at all", submission(1, approved, order_line=b""), [whole], "ORDER_MISSING")
    yield Call("the amount changed", submission(2, approved, richer), [whole], "LINE_NOT_SIGNED")
    yield Call("the creditor changed", submission(3, approved, thief), [whole], "LINE_NOT_SIGNED")
    other = payment_pb2.PaymentInstruction.FromString(thief)
    yield Call(
        "another creditor beside the signed line", submission(4, approved, instruction=other), [whole], "LINE_DIFFERS"
    )
    yield Call("nobody approved", submission(5, unapproved), [evidence(unapproved)], _SHUT)
    yield Call("another order's approval", submission(6, unapproved), [evidence(unapproved, approval)], _SHUT)
    mine = sign_decision(unapproved.digest, approves=True, shown="seen", key=forged, now=now)
    yield Call(
        "an approval signed with the thief's key", submission(7, unapproved), [evidence(unapproved, mine)], _SHUT
    )
    moved = approval._replace(content=approval.content.replace(approved.digest, unapproved.digest))
    yield Call("an approval moved to another order", submission(8, unapproved), [evidence(unapproved, moved)], _SHUT)
    yield Call("orders swapped", submission(9, unapproved), [whole], "ORDER_MISSING")
    yield Call(
        "its digest under another line",
        submission(10, unapproved, order_digest=approved.digest),
        [whole],
        "LINE_NOT_SIGNED",
    )
    yield Call(
        "the order twice, once with a refusal",
        submission(11, approved),
        [evidence(approved, approval, refused)],
        "REFUSED_BY_APPROVER",
    )
    yield Call(
        "what was paid, under another reference",
        submission(12, paid),
        [evidence(paid, paid_approval)],
        "LINE_RELEASED_BEFORE",
    )
    twice = submission(13, paid, changed(paid, minor_units=1_00), instruction_id=paid_id)
    yield Call("what was paid, again for another sum", twice, [evidence(paid, paid_approval)], "CONTENT_DIFFERS")
    proof = gateway_pb2.NotFoundProof(archive_id="A", control_reference="C", control_seen=True, safe_window_ms=1)
    again = submission(14, paid, instruction_id=paid_id, attempt=2, resend_proof=proof)
    yield Call("a resend on made-up evidence", again, [evidence(paid, paid_approval)], "RESEND_PROOF_INSUFFICIENT")


def submission(number: int, order: NewOrder, content: bytes = b"", **changes: Any) -> gateway_pb2.Submission:
    """Return a submission of the order's first line, or of other bytes."""
    line = content or order.lines[0]
    fields = {"instruction_id": f"YQTHIEF{number:017}", "attempt": 1, "order_line": line, "order_digest": order.digest,
              "line_number": 1, "instruction": payment_pb2.PaymentInstruction.FromString(line), **changes}  # fmt: skip
    return gateway_pb2.Submission(**fields)


def evidence(order: NewOrder, *decisions: Signed) -> Evidence:
    """Return the order as the payment service presents it."""
    return Evidence(order.signed, joined(order.leaves), decisions)


def changed(order: NewOrder, *, minor_units: int = 0, account: str = "") -> bytes:
    """Return the order's first line with another sum or another creditor."""
    line = payment_pb2.PaymentInstruction.FromString(order.lines[0])
    line.instructed_amount.minor_units = minor_units or line.instructed_amount.minor_units
    line.creditor_account.identification = account or line.creditor_account.identification
    return line.SerializeToString()

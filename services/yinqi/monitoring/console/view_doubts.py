"""Payments that wait for people: what is known, what is missing for a resend, what two people may decide."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from urllib.parse import quote

from yinqi.api.payment.v1 import doubt_pb2
from yinqi.monitoring.console.markup import Safe, div, join, span
from yinqi.monitoring.console.parts import Column, Row, badge, copyable, facts, instant, money, status_badge, table
from yinqi.monitoring.console.words import Words
from yinqi.monitoring.mapping import datetime_from

_COLUMNS = (
    Column("doubts.since"),
    Column("doubts.payment", "wide"),
    Column("doubts.amount", "number"),
    Column("payments.status"),
    Column("doubts.why"),
    Column("doubts.missing", "wide"),
    Column("doubts.proposal"),
)
_COMMAND_WORDS = {"DECLARE_SETTLED": "settled", "DECLARE_FAILED": "failed", "ALLOW_RESEND": "resend"}


def doubt_path(instruction_id: str) -> str:
    """Return where one is."""
    return f"/doubts/{quote(instruction_id, safe='')}"


def doubts_table(doubts: Sequence[doubt_pb2.Doubt], now: datetime, words: Words) -> Safe:
    """Return the queue, longest waiting first; each leads to all that is known."""
    return table(_COLUMNS, [_row(doubt, now, words) for doubt in doubts], words, empty="doubts.none")


def _row(doubt: doubt_pb2.Doubt, now: datetime, words: Words) -> Row:
    order = doubt.payment.instruction
    return Row(
        (
            join((span(instant(doubt.opened_at), cls="yq-nowrap"), div(age(doubt, now), cls="yq-muted yq-small"))),
            join((div(order.creditor.name, cls="yq-strong"), div(order.end_to_end_id, cls="yq-code yq-muted"))),
            money(order.instructed_amount),
            status_badge(doubt.payment.status, words),
            words(f"doubt.{_reason(doubt)}"),
            join(div(words(f"missing.{code}"), cls="yq-small") for code in doubt.missing_for_permit)
            or words("doubts.nothing_missing"),
            _proposed(doubt, words),
        ),
        href=doubt_path(doubt.payment.instruction_id),
    )


def age(doubt: doubt_pb2.Doubt, now: datetime) -> str:
    """Return how long it has waited, e.g. "3 h 05 min"."""
    until = datetime_from(doubt.closed_at) if doubt.HasField("closed_at") else now
    minutes = max(0, int((until - datetime_from(doubt.opened_at)).total_seconds() // 60))
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest:02d} min" if hours else f"{rest} min"


def _proposed(doubt: doubt_pb2.Doubt, words: Words) -> Safe:
    if not doubt.HasField("proposal"):
        return Safe("")
    decided = _decision(doubt.proposal.decision)
    return join((badge(words(f"decision.{decided}"), "unknown"), div(doubt.proposal.person, cls="yq-muted yq-small")))


def doubt_facts(doubt: doubt_pb2.Doubt, now: datetime, words: Words) -> Safe:
    """Return why it is here and what was proposed."""
    proposal = doubt.proposal
    proposed = (
        words(f"decision.{_decision(proposal.decision)}") if proposal.person else "",
        proposal.person,
        proposal.document_reference,
        proposal.account_servicer_reference,
        proposal.booking_date,
        proposal.note,
    )
    left = f"{instant(doubt.closed_at)} {doubt.closing}" if doubt.HasField("closed_at") else ""
    return facts(
        (
            ("doubts.why", words(f"doubt.{_reason(doubt)}")),
            ("doubts.since", f"{instant(doubt.opened_at)} · {age(doubt, now)}"),
            ("doubts.left", left),
            ("doubts.contradiction", doubt.contradiction),
            ("story.attempts", doubt.attempt or ""),
            ("doubts.queries", doubt.queries or ""),
            ("doubts.proposal", " · ".join(part for part in proposed if part)),
        ),
        words,
    )


def evidence_facts(doubt: doubt_pb2.Doubt, words: Words) -> Safe:
    """Return the bank's last empty answer, and what is missing for a resend permit."""
    found = doubt.evidence
    has_it = doubt.HasField("evidence")
    seen = words("doubts.control_seen" if found.control_seen else "doubts.control_not_seen")
    known = facts(
        (
            ("doubts.queried_at", instant(found.queried_at) if has_it else ""),
            ("doubts.answer", copyable(found.archive_id, words)),
            ("doubts.control", f"{found.control_reference} · {seen}" if has_it else ""),
            ("doubts.safe_window", f"{found.safe_window_ms / 1000:g} s" if has_it else ""),
        ),
        words,
    )
    if doubt.HasField("closed_at"):
        return known
    missing = [div("✗ ", words(f"missing.{code}"), data_missing=code) for code in doubt.missing_for_permit]
    if not missing:
        return join((known, div("✓ ", words("doubts.nothing_missing"), cls="yq-decision yq-strong")))
    return join((known, div(div(words("doubts.missing"), cls="yq-muted yq-small"), *missing, cls="yq-decision")))


def decisions_list(doubt: doubt_pb2.Doubt, words: Words) -> Safe:
    """Return what two people may decide, what each needs and how it is said; and why a resend is not among it."""
    if not doubt.allowed_decisions:
        return div(words("doubts.no_decision"), cls="yq-empty")
    allowed = [_decision(number) for number in doubt.allowed_decisions]
    refused = [] if "ALLOW_RESEND" in allowed else [_refused_resend(doubt, words)]
    return join(
        (div(words("doubts.two_people"), cls="yq-small"), *(_way(doubt, one, words) for one in allowed), *refused)
    )


def _way(doubt: doubt_pb2.Doubt, decision: str, words: Words) -> Safe:
    is_proposed = doubt.proposal.person and _decision(doubt.proposal.decision) == decision
    proposed = words("doubts.proposed_by", person=doubt.proposal.person, document=doubt.proposal.document_reference)
    return div(
        _decision_title(decision, words),
        div(words(f"decision.{decision}.needs")),
        div(badge(proposed, "unknown")) if is_proposed else "",
        div(_command(doubt, decision), cls="yq-code yq-muted yq-small"),
        cls="yq-decision",
        data_decision=decision,
    )


def _refused_resend(doubt: doubt_pb2.Doubt, words: Words) -> Safe:
    missing = "; ".join(words(f"missing.{code}") for code in doubt.missing_for_permit)
    return div(
        _decision_title("ALLOW_RESEND", words),
        div(words("doubts.not_now"), " ", missing),
        cls="yq-decision yq-muted",
        data_refused="ALLOW_RESEND",
    )


def _decision_title(decision: str, words: Words) -> Safe:
    name = f"decision.{decision}"
    return div(span(words(name), cls="yq-strong"), " ", span(words.beside(name), cls="yq-beside"))


def _command(doubt: doubt_pb2.Doubt, decision: str) -> Safe:
    """Return what to type; an option and its value stay on one line."""
    options = ["--document …", "--person …", *(["--serial …", "--booked …"] if decision == "DECLARE_SETTLED" else [])]
    begin = ("yinqi doubts resolve", doubt.payment.instruction.end_to_end_id, _COMMAND_WORDS.get(decision, decision))
    return join(join((span(part, cls="yq-nowrap"), " ")) for part in (*begin, *options))


def _reason(doubt: doubt_pb2.Doubt) -> str:
    return doubt_pb2.DoubtReason.Name(doubt.reason).removeprefix("DOUBT_REASON_")


def _decision(number: doubt_pb2.DoubtDecision.ValueType) -> str:
    return doubt_pb2.DoubtDecision.Name(number).removeprefix("DOUBT_DECISION_")

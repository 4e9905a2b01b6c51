"""Evidence 15, forged and valid orders at the door: every byte of every signed part flipped, bit by bit, and orders nobody touched."""

from __future__ import annotations

import itertools
import random
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

from yinqi.api.payment.v1 import payment_pb2
from yinqi.orders.evidence import Evidence, Line, check_orders, judge_lines, reason_of
from yinqi.orders.keys import Algorithm, PrivateKey
from yinqi.orders.line_tree import joined
from yinqi.orders.order import NewOrder, sign_decision, sign_order
from yinqi.orders.policy import Need, Policy, Rule, Tier
from yinqi.orders.policy_file import RegisteredKey, SignedPolicy

NOW = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)
CASES, CASES_SHORT = 100_000, 2_000
_BATCH = 500
_KEYS = {"erp": PrivateKey.generate("erp"), "li": PrivateKey.generate("li", Algorithm.ED25519)}
Case = tuple[str, Line, Evidence]


def forgery(short: bool) -> None:
    """Judge forged and valid lines; AssertionError if one forged passes or one valid does not."""
    cases = CASES_SHORT if short else CASES
    for words, made, expected in (("forged", _forged(), 0), ("valid", _valid(), cases)):
        start, passed = time.monotonic(), 0
        parts: Counter[str] = Counter()
        reasons: Counter[str] = Counter()
        for batch in _batches(made, cases):
            for (part, line, evidence), reason in zip(batch, _judged(batch), strict=True):
                parts[part] += 1
                reasons[reason or "passed"] += 1
                passed += not reason
                assert bool(reason) == (words == "forged"), (
                    f"{part}: {reason} {line.number} {evidence.order.content.hex()}"
                )
        assert passed == expected
        print(
            f"{words} {cases:,}: passed {passed:,}; by part {dict(parts)}; answers {dict(reasons)}; {time.monotonic() - start:.0f} s"
        )


def _batches(made: Iterator[Case], cases: int) -> Iterator[tuple[Case, ...]]:
    while cases > 0:
        yield tuple(itertools.islice(made, min(_BATCH, cases)))
        cases -= _BATCH


def _judged(batch: tuple[Case, ...]) -> list[str]:
    """Each case as a call of its own: the verdicts must not lean on each other."""
    policy = _policy()
    return [
        reason_of(judge_lines([line], check_orders([evidence], policy), policy, lambda one: one.minor_units, NOW)[0])
        for _, line, evidence in batch
    ]


def _forged() -> Iterator[Case]:
    for number in itertools.count():
        new = _order(number)
        approval = sign_decision(new.digest, approves=True, shown="seen", key=_KEYS["li"], now=NOW)
        good = Evidence(new.signed, joined(new.leaves), (approval,))
        line = Line(new.lines[0], new.digest, 1)
        for content in _flips(line.content):
            yield "line", line._replace(content=content), good
        for content in _flips(new.signed.content):
            bent = good._replace(order=new.signed._replace(content=content))
            yield "order", line._replace(order_digest=bent.digest), bent
        for signature in _flips(new.signed.signature):
            yield "order signature", line, good._replace(order=new.signed._replace(signature=signature))
        for leaves in _flips(good.leaves):
            yield "leaves", line, good._replace(leaves=leaves)
        for content in _flips(approval.content):
            yield "decision", line, good._replace(decisions=(approval._replace(content=content),))
        for signature in _flips(approval.signature):
            yield "decision signature", line, good._replace(decisions=(approval._replace(signature=signature),))


def _valid() -> Iterator[Case]:
    for number in itertools.count():
        new = _order(number, lines=10)
        approval = sign_decision(new.digest, approves=True, shown="seen", key=_KEYS["li"], now=NOW)
        evidence = Evidence(new.signed, joined(new.leaves), (approval,))
        for place, content in enumerate(new.lines, 1):
            yield "line", Line(content, new.digest, place), evidence


def _order(number: int, lines: int = 2) -> NewOrder:
    return sign_order(
        f"ORDER-{number}",
        [_line(number * lines + place) for place in range(lines)],
        company="company",
        key=_KEYS["erp"],
        now=NOW,
        lifetime=timedelta(hours=1),
        random_bytes=random.randbytes,
    )


def _line(number: int) -> bytes:
    message = payment_pb2.PaymentInstruction(end_to_end_id=f"E-{number}", remittance_information="货款")
    message.debtor_account.identification = "755915678910001"
    message.creditor.name = "收款有限公司"
    message.creditor_account.identification = "6225881234567890"
    message.instructed_amount.currency, message.instructed_amount.minor_units = "CNY", 100 + number
    return message.SerializeToString()


def _flips(content: bytes) -> Iterator[bytes]:
    for at in range(len(content)):
        yield content[:at] + bytes([content[at] ^ 1 << random.randrange(8)]) + content[at + 1 :]


def _policy() -> SignedPolicy:
    rule = Rule(frozenset("*"), frozenset("*"), "CNY", (Tier(None, (Need("checker", 1),)),))
    policy = Policy(1, "company", {"erp": frozenset({"maker"}), "li": frozenset({"checker"})}, (rule,))
    keys = {n: RegisteredKey(n, key.public_key(), date(2026, 1, 1), date(2027, 1, 1)) for n, key in _KEYS.items()}
    return SignedPolicy(policy, keys, timedelta(days=1), ())

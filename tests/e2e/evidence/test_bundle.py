"""Evidence bundles of real payments: what they prove, and that no byte of them can be changed."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from evidence_house import Bundles
from forging import Forger, joined, lines_of, of_kind, parts_of, place_of

from yinqi.api.payment.v1 import payment_pb2
from yinqi.crypto import sm3
from yinqi.orders.keys import DECISION_CONTEXT, PrivateKey
from yinqi.verify import Claim, Standing, Trust, read_trust, verify
from yinqi.verify.command import main


def broken_line(content: bytes, trust: Trust | None = None) -> int:
    """The line that a check names; 0 if it finds nothing."""
    broken = (verify(content, trust) if trust else verify(content)).broken
    return broken.line if broken else 0


def claims(content: bytes, standing: Standing, trust: Trust | None = None) -> list[Claim]:
    report = verify(content, trust) if trust else verify(content)
    assert report.broken is None, report.broken
    return [claim for claim in report.claims if claim.standing is standing]


def words(found: list[Claim]) -> str:
    return "\n".join(claim.words for claim in found)


# --- what it proves -------------------------------------------------------------------------------------------------


def test_a_payment_under_a_policy_is_proved_from_the_order_to_the_statement(bundles: Bundles) -> None:
    proved = words(claims(bundles.a, Standing.PROVED))
    for part in (
        "erp signed order RUN-1 at",
        "li approved the order at",
        "wang approved the order at",
        "with this payment among it",
        "asks for 1 checker, 1 director at this amount, and so many different people approved",
        "with this payment in it: amount and both accounts are those of its line",
        "the bank answered BB1PAYQR, signed with its key: SUC0000 FIN S, which means settled",
        "is SETTLED; so ends its journal of",
        "same amount and account; the bank signed that page",
        "the bank's receipt RC",
        "the order names no day: amount, creditor and both accounts are those ordered; the same entry as on line",
        "rows of account.ledger_postings as sealed",
    ):
        assert part in proved
    assert "screening at" in words(claims(bundles.a, Standing.SAID))
    assert not claims(bundles.a, Standing.UNCHECKED)
    assert verify(bundles.a).exit_code() == 0
    assert verify(bundles.a).exit_code(strict=True) == 3


def test_the_databases_it_comes_from_have_no_creditor_in_clear(bundles: Bundles) -> None:
    files = [file for file in bundles.journal.parent.glob("*.db*") if not file.name.startswith("sandbox_bank")]
    assert len({file.name.partition(".")[0] for file in files}) == 5
    for file in files:
        for canary in ("供应商有限公司", "62250000000000", "货款 发票"):
            assert canary.encode() not in file.read_bytes(), f"{canary} is in {file.name}"


def test_a_bundle_is_a_text_of_lines_that_says_the_same_each_time_but_for_when_and_the_signatures(
    bundles: Bundles,
) -> None:
    for line in lines_of(bundles.a):
        assert json.dumps(json.loads(line), sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode() == line


def test_with_what_is_known_from_outside_the_keys_and_the_chain_are_confirmed(bundles: Bundles, tmp_path: Path) -> None:
    trust = read_trust([bundles.journal, bundles.company.folder])
    assert "is the one handed outside: same hash at row" in words(claims(bundles.a, Standing.PROVED, trust))
    left = words(claims(bundles.a, Standing.MISSING, trust))
    assert "public.pem" not in left
    assert "policy_keys" not in left
    assert "keys of the bank" in left
    (tmp_path / "trust.json").write_text(json.dumps({"bank_keys": {"demo_bank": bank_keys(bundles.a)}}))
    more = read_trust([bundles.journal, bundles.company.folder, tmp_path / "trust.json"])
    assert "keys of the bank" not in words(claims(bundles.a, Standing.MISSING, more))


def bank_keys(content: bytes) -> list[str]:
    (item,) = of_kind(content, "bank")
    return list(item["bank_public_keys"])


def test_a_payment_that_nobody_signed_says_plainly_what_is_missing(bundles: Bundles) -> None:
    missing = words(claims(bundles.unsigned, Standing.MISSING))
    assert "a signed order: nobody signed this payment" in missing
    assert "no approval policy is in force at payment" in missing
    assert "no approval policy is in force at gateway" in missing
    assert "the bank's receipt RC" in words(claims(bundles.unsigned, Standing.PROVED))
    assert "signed BB1PAY" in words(claims(bundles.unsigned, Standing.PROVED))
    assert verify(bundles.unsigned).exit_code() == 0


def test_the_command_writes_the_bundle_checks_it_and_says_what_is_missing(bundles: Bundles) -> None:
    written, unknown = bundles.commands
    assert written.exit_code == 0, written.output
    assert "yinqi-verify" in written.output
    assert "payment.public.pem" in written.output
    assert "receipt" not in written.output  # It has one: the gateway asked the bank for it.
    assert unknown.exit_code == 1
    assert "PAYMENT_NOT_FOUND" in unknown.output


# --- no byte can be changed -----------------------------------------------------------------------------------------


def test_a_bundle_with_a_byte_changed_fails_at_the_line_of_that_byte(bundles: Bundles) -> None:
    dice, content, at = random.Random(20261122), bundles.a, 0
    masks = itertools.cycle((0x01, 0x20, 0x80, 0x02, 0x10, 0x04, 0x40, 0x08))
    for number, line in enumerate(lines_of(content), 1):
        # All of the frame's own few bytes, some of every other line, always its ends; the last is the line feed.
        places = range(len(line) + 1) if len(line) < 150 else [0, len(line) - 1, len(line), *places_in(line, dice)]
        for place in places:
            changed = bytearray(content)
            changed[at + place] ^= next(masks)
            assert broken_line(bytes(changed)) == number, (number, place)
        at += len(line) + 1


def places_in(line: bytes, dice: random.Random) -> list[int]:
    """Some places of a line, and many of a signature's in a part's head: the only bytes that nothing else signs."""
    signature = line.find(b'"signature":"') if b'"kind":"part"' in line else -1
    its = list(range(signature, len(line), 7)) if signature >= 0 else []
    return [*its, *(dice.randrange(len(line)) for _ in range(5))]


def test_a_line_of_another_bundle_in_its_place_fails_there(bundles: Bundles) -> None:
    ours, theirs = lines_of(bundles.a), lines_of(bundles.b)
    swapped = 0
    for number, (line, other) in enumerate(zip(ours, theirs, strict=False), 1):
        if line != other:
            assert broken_line(joined([*ours[: number - 1], other, *ours[number:]])) == number
            swapped += 1
    assert swapped > 20


def test_a_part_of_another_bundle_in_its_place_fails_at_its_head(bundles: Bundles) -> None:
    ours, theirs = parts_of(bundles.a), parts_of(bundles.b)
    for index in range(1, 6):
        mixed = [*ours[:index], theirs[index], *ours[index + 1 :]]
        head = 1 + sum(len(part) for part in ours[:index])
        mixed[-1] = [b'{"kind":"end","lines":%d}' % sum(map(len, mixed))]
        assert broken_line(joined([line for part in mixed for line in part])) == head


def test_lines_left_out_repeated_moved_or_put_in_fail_there(bundles: Bundles) -> None:
    ours = lines_of(bundles.a)
    for at in range(len(ours)):
        assert broken_line(joined([*ours[:at], *ours[at + 1 :]])) == at + 1
        if at % 3:
            continue
        assert broken_line(joined([*ours[: at + 1], ours[at], *ours[at + 1 :]])) == at + 2
        assert broken_line(joined([*ours[:at], b'{"kind":"row"}', *ours[at:]])) == at + 1
        if at + 1 < len(ours):
            assert broken_line(joined([*ours[:at], ours[at + 1], ours[at], *ours[at + 2 :]])) == at + 1


def test_a_bundle_that_was_cut_fails_where_it_was_cut(bundles: Bundles) -> None:
    content, dice = bundles.a, random.Random(7)
    ends = [at + 1 for at, byte in enumerate(content) if byte == 0x0A]
    first_part = ends[1]
    ends += [end - 1 for end in ends]  # without the line feed
    for end in [*sorted(ends)[4:-1], *(dice.randrange(first_part, len(content)) for _ in range(60))]:
        cut = content[:end]
        assert broken_line(cut) == cut.count(b"\n") + 1
    for more in (b"\n", b"x", b"\0", content):
        assert broken_line(content + more) == content.count(b"\n") + 1


def test_whoever_has_no_key_of_a_service_cannot_make_its_part_anew(bundles: Bundles) -> None:
    ours = lines_of(bundles.a)
    for index, item in enumerate(map(json.loads, ours)):
        if item.get("kind") not in ("part", None, "end"):
            forged = Forger(bundles, key_of=None).rewritten(bundles.a, index, {**item, "more": "1"})
            head = max(at for at in range(index) if json.loads(ours[at]).get("kind") == "part")
            assert broken_line(forged) == head + 1


# --- a service that lies --------------------------------------------------------------------------------------------


Lie = Callable[[Any, Bundles], Any]


def lie(kind: str, **changes: Any) -> tuple[str, Lie]:
    return kind, lambda item, _bundles: {**item, **changes}


def lie_in_row(kind: str, **changes: Any) -> tuple[str, Lie]:
    return kind, lambda item, _bundles: {**item, "row": {**item["row"], **changes}}


def of_the_other(kind: str) -> tuple[str, Lie]:
    return kind, lambda _item, bundles: of_kind(bundles.b, kind)[0]


def with_another_amount(item: Any, _bundles: Bundles) -> Any:
    line = payment_pb2.PaymentInstruction.FromString(Forger.content(item))
    line.instructed_amount.minor_units += 1
    return {**item, "content": Forger.in_base64(line.SerializeToString())}


def by_somebody_else(item: Any, _bundles: Bundles) -> Any:
    stranger = PrivateKey.generate(item["key_id"])
    return {**item, "signature": stranger.sign(DECISION_CONTEXT, Forger.content(item)).signature.hex()}


def replaced(old: str, new: str) -> Lie:
    def replace(item: Any, _bundles: Bundles) -> Any:
        assert old in item["content"]["utf8"]
        return {**item, "content": {"utf8": item["content"]["utf8"].replace(old, new)}}

    return replace


def with_its_own_digest(item: Any, old: str, new: str) -> Any:
    """A receipt that was changed, its digest made anew, under a number of which the journal has no row."""
    content = item["content"]["utf8"].replace(old, new)
    assert content != item["content"]["utf8"]
    return {**item, "content": {"utf8": content}, "digest": sm3(content.encode()).hex(), "number": "RC1"}


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        of_the_other("decision"),
        of_the_other("order"),
        ("decision", by_somebody_else),
        lie("decision", signature="00" * 64),
        lie("order", signature="11" * 64),
        lie("order", line_number=1),
        lie("order", path=[]),
        ("policy", lambda item, _: {**item, "content": item["content"].replace("director = 1", "director = 0")}),
        ("policy", lambda item, _: {**item, "signatures": item["signatures"][:1]}),
        lie_in_row("payments", status="REJECTED"),
        lie_in_row("payments", amount_minor_units=1),
        lie_in_row("payments", creditor_account="6225000000000999"),
        lie_in_row("gateway_releases", amount_minor_units=1),
        lie_in_row("gateway_releases", order_digest="00" * 32),
        lie_in_row("payment.payment_events", actor="nobody"),
        lie_in_row("account.statement_entries", minor_units=1),
        lie_in_row("gateway.gateway_message_events", failure="NONE"),
        lie_in_row("reconciliation.reconciliation_events", actor="nobody"),
        lie("payment.payment_events", position=1),
        lie("seal", entries=""),
        lie("seal", hash="00" * 32),
        lie("seal", signature="22" * 64),
        lie("message", digest="00" * 32),
        ("message", replaced("60000.01", "60000.02")),
        ("answer", replaced('"resultcode":"SUC0000"', '"resultcode":"SUC0001"')),
        of_the_other("receipt"),
        lie("receipt", digest="00" * 32),
        lie("receipt", number="RC000000000000000"),
        ("receipt", replaced('"trsamt":"60000.01"', '"trsamt":"60000.02"')),
        ("receipt", lambda item, _: with_its_own_digest(item, '"trsamt":"60000.01"', '"trsamt":"60000.02"')),
        ("receipt", lambda item, _: with_its_own_digest(item, '"trxdat":"20', '"trxdat":"19')),
    ],
)
def test_a_service_that_signs_a_lie_is_named_by_what_others_signed(bundles: Bundles, kind: str, change: Lie) -> None:
    index, item = place_of(bundles.a, kind)
    forged = Forger(bundles).rewritten(bundles.a, index, change(item, bundles))
    assert broken_line(forged) == index + 1


def test_a_line_that_a_service_exchanged_is_not_the_one_that_was_signed(bundles: Bundles) -> None:
    index, item = place_of(bundles.a, "line")
    forger = Forger(bundles)
    forged = forger.rewritten(bundles.a, index, with_another_amount(item, bundles))
    at, record = place_of(forged, "payments")
    assert broken_line(forged) == at + 1  # the record still says what was ordered
    record["row"]["amount_minor_units"] += 1
    order, _ = place_of(forged, "order")
    assert broken_line(forger.rewritten(forged, at, record)) == order + 1


def test_approvals_that_a_service_left_out_are_said_to_lack(bundles: Bundles) -> None:
    index, _ = place_of(bundles.a, "decision")
    forged = Forger(bundles).rewritten(bundles.a, index, {"kind": "missing", "what": "DECISIONS"})
    report = verify(forged)
    assert report.exit_code() == 3
    assert "approvals lack for this amount" in words([c for c in report.claims if c.standing is Standing.UNCHECKED])


def test_a_receipt_that_a_service_left_out_is_said_to_lack(bundles: Bundles) -> None:
    index, _ = place_of(bundles.a, "receipt")
    forged = Forger(bundles).rewritten(bundles.a, index, {"kind": "missing", "what": "RECEIPT"})
    assert "the bank gave none for this payment" in words(claims(forged, Standing.MISSING))
    assert "receipt" not in words(claims(bundles.a, Standing.MISSING)).replace("or receipts", "")


def test_a_checkpoint_forged_with_the_services_own_key_fails_against_the_seals_outside(bundles: Bundles) -> None:
    forger = Forger(bundles)
    forged, seal = forger.with_a_row_made_anew(bundles.a)
    assert broken_line(forged) == 0  # Its key made all of it: the seals outside are what it cannot change.
    assert broken_line(forged, read_trust([bundles.journal])) == seal + 1


def test_a_checkpoint_forged_with_another_key_is_not_believed(bundles: Bundles) -> None:
    forged, seal = Forger(bundles).with_a_row_made_anew(bundles.a, with_another_key=True)
    report = verify(forged)
    assert report.exit_code() == 3
    assert [c.line for c in report.claims if c.standing is Standing.UNCHECKED] == [seal + 1]


def test_a_bundle_made_with_keys_of_its_own_fails_against_known_keys(bundles: Bundles) -> None:
    trust = read_trust([bundles.journal])
    forged = Forger(bundles, key_of="stranger").signed_anew(bundles.a, "monitoring")
    assert broken_line(forged) == 0
    (head,) = [n for n, line in enumerate(lines_of(forged), 1) if b'"service":"monitoring"' in line]
    assert broken_line(forged, trust) == head


@pytest.mark.parametrize("whose", ["bank_keys", "company_keys", "policy_keys"])
def test_keys_other_than_the_trusted_ones_are_refused(bundles: Bundles, tmp_path: Path, whose: str) -> None:
    stranger = PrivateKey.generate("chen-policy").public_key().raw.hex()
    its = {"chen-policy": [stranger]} if whose == "policy_keys" else {"demo_bank": [stranger]}
    (tmp_path / "trust.json").write_text(json.dumps({whose: its}))
    assert broken_line(bundles.a, read_trust([tmp_path / "trust.json"])) > 1


# --- the command ----------------------------------------------------------------------------------------------------


def test_the_verifier_speaks_and_ends_as_promised(
    bundles: Bundles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad, other = tmp_path / "good.jsonl", tmp_path / "bad.jsonl", tmp_path / "other"
    good.write_bytes(bundles.a)
    bad.write_bytes(bundles.a.replace(b'"amount_minor_units":6000001', b'"amount_minor_units":6000009', 1))
    other.write_bytes(b"\x89PNG")
    assert main([str(good)]) == 0
    assert "erp 于" in (said := capsys.readouterr().out)
    assert "whose hands held the keys" in said
    assert main([str(bad)]) == 1
    said = capsys.readouterr().out
    assert "line    3  is not what payment signed" in said
    assert "已被破坏" in said
    assert main([str(good), "--strict"]) == 3
    assert main([str(other)]) == main([str(tmp_path / "absent")]) == main([str(good), "--trust", str(other)]) == 2
    assert "cannot be read" in capsys.readouterr().err
    assert main([str(good), "--keys"]) == 0
    (tmp_path / "trust.json").write_text(capsys.readouterr().out)
    assert main([str(good), "--trust", str(tmp_path / "trust.json"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["exit_code"] == 0

"""The bundle of tests/vectors/evidence, made once: later versions must go on reading it."""

from __future__ import annotations

from pathlib import Path

from yinqi.verify import Standing, read_trust, verify
from yinqi.verify.command import main

FOLDER = Path(__file__).parents[2] / "vectors" / "evidence"
BUNDLE, TRUST = FOLDER / "supplier_payment.jsonl", FOLDER / "trust.json"


def test_the_bundle_of_the_vectors_is_proved_and_all_its_keys_are_confirmed() -> None:
    report = verify(BUNDLE.read_bytes(), read_trust([TRUST]))
    assert report.exit_code() == 0
    assert not [claim.words for claim in report.claims if claim.standing is Standing.MISSING]
    (receipt,) = [claim.words for claim in report.claims if claim.words.startswith("the bank's receipt RC")]
    assert "amount, creditor and both accounts are those ordered" in receipt
    assert report.exit_code(strict=True) == 0
    assert sum(claim.standing is Standing.PROVED for claim in report.claims) > 50
    assert main([str(BUNDLE), "--trust", str(TRUST)]) == 0


def test_every_claim_is_told_in_both_languages_and_names_a_line_that_is_there() -> None:
    content = BUNDLE.read_bytes()
    for claim in verify(content).claims:
        assert claim.words
        assert any("\u4e00" <= character <= "\u9fff" for character in claim.words_zh), claim
        assert 0 <= claim.line <= content.count(b"\n")

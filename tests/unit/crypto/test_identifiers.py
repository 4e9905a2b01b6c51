"""Check digits of identifiers through Python."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from yinqi.crypto import (
    check_bank_card_luhn,
    check_bic,
    check_cnaps,
    check_creditor_reference,
    check_iban,
    check_lei,
    check_resident_id,
    check_uscc,
    control_sum,
)

CHECKS: dict[str, Callable[[list[str]], list[str]]] = {
    "bic": check_bic,
    "card": check_bank_card_luhn,
    "cnaps": check_cnaps,
    "iban": check_iban,
    "lei": check_lei,
    "reference": check_creditor_reference,
    "resident": check_resident_id,
    "uscc": check_uscc,
}


@pytest.mark.parametrize("kind", sorted(CHECKS))
def test_each_sample_gets_its_reason_in_order(kind: str, vectors: Path) -> None:
    with (vectors / "identifiers/samples.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] == kind]
    reasons = CHECKS[kind]([row["identifier"] for row in rows])
    assert dict(zip([row["identifier"] for row in rows], reasons, strict=True)) == {
        row["identifier"]: row["reason"] for row in rows
    }


def test_every_published_bank_code_has_the_check_digit_we_expect(vectors: Path) -> None:
    codes = (vectors / "identifiers/cnaps_codes.txt").read_text(encoding="ascii").split()
    assert len(set(codes)) == 3431
    assert set(check_cnaps(codes)) == {""}


def test_each_single_digit_and_each_neighbour_swap_of_a_bank_code_is_found(vectors: Path) -> None:
    codes = (vectors / "identifiers/cnaps_codes.txt").read_text(encoding="ascii").split()[::50]
    changed = []
    for code in codes:
        for i, old in enumerate(code):
            changed += [code[:i] + new + code[i + 1 :] for new in "0123456789" if new != old]
    assert set(check_cnaps(changed)) == {"CHECK_DIGIT"}
    swapped = [
        code[:i] + code[i + 1] + code[i] + code[i + 2 :] for code in codes for i in range(11) if code[i] != code[i + 1]
    ]
    missed = check_cnaps(swapped).count("")
    assert missed <= len(swapped) // 20, "MOD 11,10 finds nearly all swaps of neighbours"


@pytest.mark.parametrize("kind", sorted(CHECKS))
def test_odd_text_is_answered_and_never_an_exception(kind: str) -> None:
    odd = [
        "",
        " ",
        "\x00" * 12,
        "银行" * 6,
        "🏦" * 12,
        "9" * 100_000,
        "１２３４５６７８９０１２",
        "A" * 18,
        "\n102100099996",
    ]
    reasons = CHECKS[kind](odd)
    assert len(reasons) == len(odd)
    assert "" not in reasons
    assert CHECKS[kind]([]) == []


def test_a_batch_names_the_item_of_the_wrong_type() -> None:
    with pytest.raises(TypeError, match=r"identifiers\[1\]: str .* expected, got <class 'int'>"):
        check_cnaps(["102100099996", 102100099996])  # type: ignore[list-item]
    with pytest.raises(TypeError, match=r"identifiers\[0\]"):
        check_iban(["\ud800"])


def test_a_control_sum_is_exact_or_an_error_that_names_the_item() -> None:
    assert control_sum([]) == 0
    assert control_sum([1, 2, -3, 10**15]) == 10**15
    assert control_sum([2**63 - 1, -1]) == 2**63 - 2
    with pytest.raises(OverflowError, match=r"amounts\[1\]"):
        control_sum([2**63 - 1, 1])
    with pytest.raises(OverflowError, match=r"amounts\[2\]"):
        control_sum([1, 2, 2**63])
    with pytest.raises(TypeError, match=r"amounts\[0\]"):
        control_sum(["1"])  # type: ignore[list-item]
    with pytest.raises(TypeError, match=r"amounts\[1\]"):
        control_sum([1, 1.5])  # type: ignore[list-item]

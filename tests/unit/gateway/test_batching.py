"""How lines become batches: kinds apart, count and bytes within the bank's, totals proven on both sides."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from yinqi.gateway.adapters.cdc import submissions
from yinqi.gateway.adapters.cdc.dialect import CdcDialect
from yinqi.gateway.batching import by_kind, check_totals, parts, trains
from yinqi.gateway.model import BankAccount, BatchKind, ControlTotal
from yinqi.gateway.profile import Profile
from yinqi.kernel.errors import FailedPrecondition, InvalidRequest
from yinqi.kernel.money import Money


def sized(profile: Profile, **batch: int) -> Profile:
    return profile.model_copy(update={"batch": profile.batch.model_copy(update=batch)})


def test_salaries_and_taxes_are_never_in_one_batch_with_others(submission: Any) -> None:
    kinds = [BatchKind.OTHER, BatchKind.SALARY, BatchKind.TAX, BatchKind.OTHER, BatchKind.SALARY]
    groups = by_kind([submission(f"YQ{n}", kind=kind) for n, kind in enumerate(kinds)])
    assert [[line.instruction_id for line in group] for group in groups] == [["YQ0", "YQ3"], ["YQ1", "YQ4"], ["YQ2"]]


def test_no_message_has_more_lines_or_bytes_than_the_bank_takes(
    profile: Profile, dialect: CdcDialect, account: BankAccount, submission: Any
) -> None:
    lines = [submission(f"YQ{n:04d}", remittance_information="货" * (n % 90 + 1)) for n in range(200)]
    small = sized(profile, lines_max=40, bytes_max=8_192)
    found = trains(lines, small, dialect.line_bytes)
    assert [line for train in found for message in train for line in message] == lines
    for (message,) in found:
        assert len(message) <= 40
        assert len(dialect.make_submission(message, account).plain) <= 8_192


def test_a_batch_over_several_messages_says_its_place_and_the_totals_of_all(
    profile: Profile, dialect: CdcDialect, account: BankAccount, submission: Any
) -> None:
    lines = [submission(f"YQ{n}", amount=Money("CNY", 101)) for n in range(5)]
    (train,) = trains(lines, sized(profile, lines_max=2, messages_max=3), dialect.line_bytes)
    heads = [
        submissions.batch_body(message, account, profile, "BT1", part)["bb1paybhx1"][0]
        for message, part in zip(train, parts(train, "BT1"), strict=True)
    ]
    assert [(head["ctnFlg"], head["ctnSts"], head["pktSeq"]) for head in heads] == [
        ("Y", "1", "1"),
        ("Y", "2", "2"),
        ("Y", "3", "3"),
    ]
    assert [(head["dtlNum"], head["dtlAmt"]) for head in heads] == [("2", "2.02"), ("2", "2.02"), ("1", "1.01")]
    assert {(head["batNbr"], head["totNum"], head["totAmt"]) for head in heads} == {("BT1", "5", "5.05")}


def test_a_salary_batch_carries_the_banks_business_code(
    dialect: CdcDialect, account: BankAccount, submission: Any
) -> None:
    outgoing = dialect.make_submission([submission(kind=BatchKind.SALARY)], account)
    assert outgoing.function == "BB1PAYBH"  # a single wage, too
    assert b'"busCod":"N03010"' in outgoing.plain


@pytest.mark.parametrize(("field", "value"), [("dtlNum", "3"), ("dtlAmt", "2469.01")])
def test_a_batch_that_contradicts_itself_is_not_sent(
    profile: Profile, account: BankAccount, submission: Any, field: str, value: str
) -> None:
    body = submissions.batch_body([submission("YQ1"), submission("YQ2")], account, profile, "BT1")
    submissions.prove_totals(body)
    body["bb1paybhx1"][0][field] = value
    with pytest.raises(FailedPrecondition, match="BATCH_TOTALS_MISMATCH"):
        submissions.prove_totals(body)


@pytest.mark.parametrize(
    "changes",
    [{"count": 3}, {"amount": Money("CNY", 246901)}, {"amount": Money("EUR", 246900)}, {"debtor_account": "1"}],
)
def test_totals_of_the_caller_that_are_not_those_of_the_lines_stop_everything(submission: Any, changes: Any) -> None:
    lines = [submission("YQ1"), submission("YQ2")]
    good = ControlTotal("755915678910001", 2, Money("CNY", 246900))
    check_totals(lines, [])
    check_totals(lines, [good])
    with pytest.raises(InvalidRequest, match="CONTROL_TOTALS_MISMATCH"):
        check_totals(lines, [dataclasses.replace(good, **changes)])
    with pytest.raises(InvalidRequest, match="one total per"):
        check_totals(lines, [good, good])

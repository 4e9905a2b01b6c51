"""Lines that the dialect cannot carry are refused before anything is sent, with field and reason."""

from __future__ import annotations

from typing import Any

import pytest

from yinqi.gateway.adapters.cdc.dialect import CdcDialect
from yinqi.gateway.adapters.cdc.submissions import refusal
from yinqi.gateway.model import BankAccount, Channel, Submission
from yinqi.gateway.profile import Profile, TextLimit
from yinqi.kernel.errors import InvalidRequest
from yinqi.kernel.money import Money


@pytest.mark.parametrize(
    ("changes", "reason", "field"),
    [
        ({"amount": Money("USD", 1)}, "CURRENCY_NOT_OF_ACCOUNT", "instructed_amount"),
        ({"amount": Money("KWD", 1)}, "CURRENCY_UNSUPPORTED", "instructed_amount"),
        ({"amount": Money("CNY", 0)}, "AMOUNT_RANGE", "instructed_amount"),
        ({"amount": Money("CNY", -1)}, "AMOUNT_RANGE", "instructed_amount"),
        ({"amount": Money("CNY", 10**15)}, "AMOUNT_RANGE", "instructed_amount"),
        ({"creditor_account": ""}, "ACCOUNT_FORMAT", "creditor_account"),
        ({"creditor_account": "6225 8812"}, "ACCOUNT_FORMAT", "creditor_account"),
        ({"creditor_account": "1" * 36}, "ACCOUNT_FORMAT", "creditor_account"),
        ({"creditor_name": "  "}, "FIELD_MISSING", "creditor_name"),
        ({"creditor_name": "名" * 141}, "FIELD_TOO_LONG", "creditor_name"),
        ({"creditor_name": "a\nb"}, "CONTROL_CHARACTER", "creditor_name"),
        ({"creditor_name": "a\ud800"}, "CHARACTER_UNSUPPORTED", "creditor_name"),
        ({"clearing_member_id": ""}, "AGENT_MISSING", "creditor_agent"),
        ({"clearing_member_id": "12345"}, "AGENT_FORMAT", "creditor_agent.clearing_member_id"),
        ({"bicfi": "deutdeff"}, "AGENT_FORMAT", "creditor_agent.bicfi"),
        ({"agent_name": "行" * 101}, "FIELD_TOO_LONG", "agent_name"),
        ({"remittance_information": "附" * 101}, "FIELD_TOO_LONG", "remittance_information"),
        ({"remittance_information": "", "purpose": "p\x7f"}, "CONTROL_CHARACTER", "remittance_information"),
    ],
)
def test_each_reason(
    profile: Profile, account: BankAccount, submission: Any, changes: Any, reason: str, field: str
) -> None:
    found = refusal(submission(**changes), account, profile)
    assert found is not None
    assert (found.reason_code, found.violation.field) == (reason, field)
    assert found.violation.description_zh


def test_what_the_bank_takes_is_not_refused(profile: Profile, account: BankAccount, submission: Any) -> None:
    for changes in (
        {},
        {"amount": Money("CNY", 10**15 - 1)},
        {"channel": Channel.INSTANT, "amount": Money("CNY", 100_000_000)},
        {"creditor_name": "名" * 140, "remittance_information": "附" * 100},
        {"clearing_member_id": "", "bicfi": "DEUTDEFF500"},
        {"clearing_member_id": "", "agent_name": "中国银行"},
        {"creditor_name": "O'Neil & <Söhne> 𠮷"},
    ):
        assert refusal(submission(**changes), account, profile) is None, changes


def test_a_reference_over_thirty_characters_is_refused(profile: Profile, account: BankAccount, submission: Any) -> None:
    found = refusal(submission("Y" * 31), account, profile)
    assert found is not None
    assert found.reason_code == "REFERENCE_FORMAT"


def test_byte_limits_and_narrow_charsets_come_from_the_profile(
    profile: Profile, account: BankAccount, submission: Any
) -> None:
    narrow = profile.model_copy(
        update={"encoding": "gb2312", "texts": {"creditor_name": TextLimit(chars_max=140, bytes_max=9)}}
    )
    too_long = refusal(submission(creditor_name="收款公司x" + "y"), account, narrow)
    assert too_long is not None
    assert too_long.reason_code == "FIELD_TOO_LONG"
    odd = refusal(submission(creditor_name="𠮷"), account, narrow)
    assert odd is not None
    assert "U+20BB7" in odd.violation.description
    assert refusal(submission(creditor_name="收款公司x"), account, narrow) is None


def test_a_batch_declares_count_and_exact_total(dialect: CdcDialect, account: BankAccount, submission: Any) -> None:
    import json

    lines = [submission(f"YQ{i}", amount=Money("CNY", 10 + i)) for i in range(3)]
    outgoing = dialect.make_submission(lines, account)
    body = json.loads(outgoing.plain)["request"]["body"]
    head = body["bb1paybhx1"][0]
    assert (head["dtlNum"], head["dtlAmt"], head["dbtAcc"], head["ctnFlg"]) == ("3", "0.33", "755915678910001", "N")
    assert [line["trsAmt"] for line in body["bb1paybhx2"]] == ["0.10", "0.11", "0.12"]
    assert {(line["conNbr"], line["invNbr"], line["stlChn"]) for line in body["bb1paybhx2"]} == {("N/A", "N/A", "I")}
    assert outgoing.function == "BB1PAYBH"
    assert dialect.make_submission(lines[:1], account).function == "BB1PAYOP"


@pytest.mark.parametrize(
    ("instruction_id", "attempt"), [("", 1), ("a b", 1), ("名", 1), ("A" * 65, 1), ("A", 0), ("A", -1)]
)
def test_a_wrong_submission_cannot_be_built(submission: Any, instruction_id: str, attempt: int) -> None:
    with pytest.raises(InvalidRequest):
        Submission(instruction_id, attempt, submission().instruction)

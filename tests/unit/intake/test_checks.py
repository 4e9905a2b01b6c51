"""Every rule of a payment line, seen through a CSV list."""

from __future__ import annotations

import pytest

from yinqi.intake import read_payment_file
from yinqi.kernel.money import Money

from .lists import csv_bytes, line, read_lines


def test_a_good_line_becomes_a_payment_with_every_field():
    (paid,) = read_lines(line()).lines

    assert paid.end_to_end_id == "SUP-1"
    assert paid.debtor_account.identification == "755915678910001"
    assert (paid.debtor_account.scheme, paid.debtor_account.currency) == ("BBAN", "CNY")
    assert paid.creditor == "苏州瑞丰精密模具有限公司"
    assert paid.creditor_agent.clearing_member_id == "102100099996"
    assert paid.instructed_amount == Money("CNY", 123450)
    assert paid.requested_execution_date == "2026-11-20"
    assert (paid.category_purpose, paid.channel) == ("SUPP", "SMALL_VALUE")
    assert (paid.line, paid.where) == (2, "line 2")


@pytest.mark.parametrize(
    ("column", "text", "field", "reason"),
    [
        ("金额", "0.00", "instructed_amount", "AMOUNT_ZERO"),
        ("金额", "-5.00", "instructed_amount", "AMOUNT_NEGATIVE"),
        ("金额", "1.005", "instructed_amount", "AMOUNT_DECIMALS"),
        ("金额", "1,000.00", "instructed_amount", "AMOUNT_FORMAT"),
        ("金额", "1e3", "instructed_amount", "AMOUNT_FORMAT"),
        ("金额", "10000000000000.00", "instructed_amount", "AMOUNT_TOO_LARGE"),
        ("金额", "9" * 5000, "instructed_amount", "AMOUNT_TOO_LARGE"),
        ("金额", "", "instructed_amount", "MISSING"),
        ("币种", "RMB", "instructed_amount.currency", "CURRENCY_UNKNOWN"),
        ("币种", "", "instructed_amount.currency", "MISSING"),
        ("业务参考号", "", "end_to_end_id", "MISSING"),
        ("业务参考号", "A" * 36, "end_to_end_id", "TOO_LONG"),
        ("业务参考号", "参考1", "end_to_end_id", "CHARACTER"),
        ("收款人", "", "creditor", "MISSING"),
        ("收款人", "瑞" * 141, "creditor", "TOO_LONG"),
        ("收款人", "瑞丰\u202e公司", "creditor", "CONTROL_CHARACTER"),
        ("附言", "a\x00b", "remittance_information", "CONTROL_CHARACTER"),
        ("附言", "a\tb", "remittance_information", "CONTROL_CHARACTER"),
        ("附言", "货" * 141, "remittance_information", "TOO_LONG"),
        ("收款人", "娣卞湷甯傚ぉ鎴", "creditor", "MOJIBAKE"),
        ("收款人", "锟斤拷锟斤拷", "creditor", "MOJIBAKE"),
        ("收款人", "MÃ¼ller GmbH", "creditor", "MOJIBAKE"),
        ("收款账号", "", "creditor_account.identification", "MISSING"),
        ("收款账号", "6.22202E+18", "creditor_account.identification", "ACCOUNT_SCIENTIFIC"),
        ("收款账号", "1" * 35, "creditor_account.identification", "TOO_LONG"),
        ("收款账号", "账号123", "creditor_account.identification", "CHARACTER"),
        ("收款账号", "DE89370400440532013001", "creditor_account.identification", "CHECK_DIGIT"),
        ("收款行联行号", "10210009999", "creditor_agent.clearing_member_id", "LENGTH"),
        ("收款行联行号", "10210009999X", "creditor_agent.clearing_member_id", "CHARACTER"),
        ("收款行联行号", "102100099995", "creditor_agent.clearing_member_id", "CHECK_DIGIT"),
        ("收款行联行号", "", "creditor_agent.clearing_member_id", "MISSING"),
        ("期望付款日", "2026-02-30", "requested_execution_date", "DATE_INVALID"),
        ("期望付款日", "20/11/2026", "requested_execution_date", "DATE_INVALID"),
        ("付款类别", "GIFT", "category_purpose", "WORD_UNKNOWN"),
        ("汇路", "快递", "channel", "WORD_UNKNOWN"),
    ],
)
def test_a_wrong_field_refuses_its_line_with_field_reason_and_what_is_allowed(column, text, field, reason):
    read = read_lines(line(1), line(2, **{column: text}), line(3))

    (refused,) = read.refused
    assert (refused.line, refused.field, refused.reason) == (3, field, reason)
    assert refused.message
    assert refused.message_zh
    assert refused.allowed
    assert [paid.end_to_end_id for paid in read.lines] == ["SUP-1", "SUP-3"]


def test_all_faults_of_a_line_are_told_at_once():
    (refused,) = read_lines(line(收款人="", 金额="0", 期望付款日="heute")).refused

    told = [refused.field, *(fault.field for fault in refused.more)]
    assert told == ["creditor", "requested_execution_date", "instructed_amount"]


def test_no_refusal_repeats_a_name_or_an_account_number():
    secret = "6222021234567890123456789012345678901"
    (refused,) = read_lines(line(收款账号=secret, 收款人="瑞丰\x07")).refused

    words = " ".join([refused.message, refused.message_zh, *(fault.message for fault in refused.more)])
    assert secret not in words
    assert "瑞丰" not in words


@pytest.mark.parametrize("text", ["2026-11-20", "2026/11/20", "20261120"])
def test_a_date_may_be_written_in_three_unambiguous_ways(text):
    (paid,) = read_lines(line(期望付款日=text)).lines
    assert paid.requested_execution_date == "2026-11-20"


def test_an_empty_date_means_at_once():
    (paid,) = read_lines(line(期望付款日="")).lines
    assert paid.requested_execution_date == ""


@pytest.mark.parametrize(
    ("currency", "amount", "minor_units"), [("JPY", "1200", 1200), ("CNY", "0.01", 1), ("KWD", "1.234", 1234)]
)
def test_decimals_follow_the_currency(currency, amount, minor_units):
    (paid,) = read_lines(line(币种=currency, 金额=amount)).lines
    assert paid.instructed_amount == Money(currency, minor_units)


def test_yen_have_no_decimals():
    (refused,) = read_lines(line(币种="JPY", 金额="12.00")).refused
    assert refused.reason == "AMOUNT_DECIMALS"


def test_an_iban_account_needs_no_bank_code():
    (paid,) = read_lines(line(收款账号="DE89370400440532013000", 收款行联行号="", 币种="EUR")).lines
    assert paid.creditor_account.scheme == "IBAN"


def test_the_same_line_twice_is_taken_once():
    read = read_lines(line(1), line(2), line(1))

    (refused,) = read.refused
    assert (refused.line, refused.reason) == (4, "DUPLICATE_LINE")
    assert "line 2" in refused.message
    assert len(read.lines) == 2


def test_the_same_reference_with_other_content_is_told_apart_from_a_repetition():
    read = read_lines(line(1), line(1, 金额="9.99"))

    (refused,) = read.refused
    assert refused.reason == "END_TO_END_ID_REUSED"
    assert [paid.instructed_amount.minor_units for paid in read.lines] == [123450]


def test_the_reference_of_a_refused_line_is_taken_too():
    read = read_lines(line(1, 金额="0"), line(1))
    assert [refused.reason for refused in read.refused] == ["AMOUNT_ZERO", "END_TO_END_ID_REUSED"]


def test_without_strict_a_wrong_bank_code_digit_warns_and_passes():
    data = csv_bytes([line(1, 收款行联行号="102100099995"), line(2, 收款行联行号="1021")])
    read = read_payment_file(data, "list.csv", strict=False)

    assert [paid.end_to_end_id for paid in read.lines] == ["SUP-1"]
    assert [(warned.line, warned.reason) for warned in read.warned] == [(2, "CHECK_DIGIT")]
    assert [refused.reason for refused in read.refused] == ["LENGTH"]


def test_check_digits_are_asked_for_once_for_the_whole_file():
    asked = []

    def check(identifiers):
        asked.append(len(identifiers))
        return [""] * len(identifiers)

    read_payment_file(csv_bytes([line(n) for n in range(50)]), "list.csv", check_cnaps=check)
    assert asked == [50]

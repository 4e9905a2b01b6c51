"""Which lines may be recorded; every fault of a line at once, in two languages."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from payment_builders import CNAPS, IBAN, instruction_message

from yinqi import crypto
from yinqi.api.common.v1 import party_pb2
from yinqi.api.payment.v1 import payment_pb2
from yinqi.payment.mapping import instruction_from
from yinqi.payment.rules import find_faults

TODAY = date(2026, 11, 22)


def faults(**changes: Any) -> list[tuple[str, str]]:
    message = instruction_message(**changes)
    (found,) = find_faults([instruction_from(message)], crypto, TODAY)
    assert all(fault.description and fault.description_zh for fault in found)
    return [(fault.field, fault.reason) for fault in found]


def test_a_good_line_has_no_fault():
    assert faults() == []
    assert faults(creditor_account__identification=IBAN) == []
    assert faults(creditor_agent__clearing_member_id="", creditor_agent__bicfi="DEUTDEFF") == []
    assert faults(requested_execution_date="2026-12-01") == []
    assert faults(requested_execution_date="2020-01-01") == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"end_to_end_id": ""}, ("end_to_end_id", "MISSING")),
        ({"end_to_end_id": "X" * 36}, ("end_to_end_id", "TOO_LONG")),
        ({"end_to_end_id": "INV 1"}, ("end_to_end_id", "CHARACTER")),
        ({"end_to_end_id": "INV-1\n"}, ("end_to_end_id", "CHARACTER")),
        ({"end_to_end_id": "发票"}, ("end_to_end_id", "CHARACTER")),
        ({"debtor_account__identification": ""}, ("debtor_account.identification", "MISSING")),
        ({"creditor_account__identification": "6222 0202"}, ("creditor_account.identification", "CHARACTER")),
        ({"creditor_account__identification": "6" * 35}, ("creditor_account.identification", "TOO_LONG")),
        ({"creditor_account__identification": IBAN[:-1] + "8"}, ("creditor_account.identification", "CHECK_DIGIT")),
        ({"debtor_account__identification": IBAN[:-1] + "8"}, ("debtor_account.identification", "CHECK_DIGIT")),
        ({"creditor__name": ""}, ("creditor.name", "MISSING")),
        ({"creditor__name": "　 "}, ("creditor.name", "MISSING")),
        ({"creditor__name": "名" * 141}, ("creditor.name", "TOO_LONG")),
        ({"creditor__name": "甲\u202e乙"}, ("creditor.name", "CONTROL_CHARACTER")),
        ({"remittance_information": "a\x00b"}, ("remittance_information", "CONTROL_CHARACTER")),
        ({"purpose": "a\tb"}, ("purpose", "CONTROL_CHARACTER")),
        ({"instructed_amount__minor_units": 0}, ("instructed_amount.minor_units", "AMOUNT_ZERO")),
        ({"instructed_amount__minor_units": -1}, ("instructed_amount.minor_units", "AMOUNT_NEGATIVE")),
        ({"instructed_amount__minor_units": 10**15}, ("instructed_amount.minor_units", "AMOUNT_TOO_LARGE")),
        ({"instructed_amount__currency": "XXX"}, ("instructed_amount.currency", "CURRENCY_UNKNOWN")),
        (
            {"creditor_agent__clearing_member_id": CNAPS[:-1] + "1"},
            ("creditor_agent.clearing_member_id", "CHECK_DIGIT"),
        ),
        ({"creditor_agent__clearing_member_id": "1021"}, ("creditor_agent.clearing_member_id", "LENGTH")),
        ({"creditor_agent__bicfi": "DEUTXXFF"}, ("creditor_agent.bicfi", "COUNTRY")),
        ({"requested_execution_date": "2026-02-30"}, ("requested_execution_date", "DATE_INVALID")),
        ({"requested_execution_date": "20261201"}, ("requested_execution_date", "DATE_INVALID")),
        ({"requested_execution_date": "2028-01-01"}, ("requested_execution_date", "DATE_TOO_FAR")),
        ({"category_purpose": 99}, ("category_purpose", "VALUE_UNKNOWN")),
        ({"channel": 99}, ("channel", "VALUE_UNKNOWN")),
        ({"creditor_account__scheme": 99}, ("creditor_account.scheme", "VALUE_UNKNOWN")),
        ({"creditor_account__currency": "yuan"}, ("creditor_account.currency", "CURRENCY_UNKNOWN")),
        ({"tax_details__due_date": "soon"}, ("tax_details.due_date", "DATE_INVALID")),
        ({"payroll_details__employee_id": "1" * 36}, ("payroll_details.employee_id", "TOO_LONG")),
        ({"tax_details__reference": "a\x1fb"}, ("tax_details.reference", "CONTROL_CHARACTER")),
    ],
)
def test_each_fault_is_named_with_its_field(changes: dict[str, Any], expected: tuple[str, str]):
    assert faults(**changes) == [expected]


def test_all_faults_of_a_line_come_together():
    found = faults(
        end_to_end_id="",
        creditor__name="",
        instructed_amount__minor_units=-5,
        creditor_agent__clearing_member_id=CNAPS[:-1] + "1",
    )
    assert {field for field, _ in found} == {
        "end_to_end_id",
        "creditor.name",
        "instructed_amount.minor_units",
        "creditor_agent.clearing_member_id",
    }


def test_an_account_said_to_be_a_national_number_is_not_checked_as_an_iban():
    assert (
        faults(creditor_account__identification=IBAN[:-1] + "8", creditor_account__scheme=party_pb2.ACCOUNT_SCHEME_BBAN)
        == []
    )


def test_a_message_never_quotes_a_name_or_an_account():
    message = instruction_message(creditor__name="王\x07小明", creditor_account__identification="6222 0202 0011")
    (found,) = find_faults([instruction_from(message)], crypto, TODAY)
    text = " ".join(fault.description + fault.description_zh for fault in found)
    assert len(found) == 2
    assert "小明" not in text
    assert "0202" not in text


def test_unset_enums_are_fine():
    message = instruction_message()
    message.category_purpose = payment_pb2.CATEGORY_PURPOSE_UNSPECIFIED
    assert instruction_from(message).category_purpose == "SUPP"
    assert find_faults([instruction_from(message)], crypto, TODAY) == [[]]

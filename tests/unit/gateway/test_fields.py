"""Amounts, dates and texts of the cdc dialect."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from yinqi.gateway.adapters.cdc.envelope import Number
from yinqi.gateway.adapters.cdc.fields import Record, format_amount, parse_amount, records, single
from yinqi.gateway.ports import AnswerUnusable
from yinqi.kernel.errors import AmountInvalid
from yinqi.kernel.money import Money


@pytest.mark.parametrize(
    ("money", "text"),
    [
        (Money("CNY", 1), "0.01"),
        (Money("CNY", 123450), "1234.50"),
        (Money("CNY", 10**15 - 1), "9999999999999.99"),
        (Money("JPY", 100), "100.00"),
        (Money("CNY", -5), "-0.05"),
    ],
)
def test_amounts_have_two_decimals_whatever_the_currency(money: Money, text: str) -> None:
    assert format_amount(money) == text
    assert parse_amount(text, money.currency) == money
    assert parse_amount(Number(text), money.currency) == money


def test_amounts_are_read_exactly_from_their_spelling() -> None:
    for text in ("1234.5", "1234.50", "1234.500", "1234.5000000", "1234.50  "):
        assert parse_amount(text, "CNY") == Money("CNY", 123450)
    assert parse_amount("9007199254740.93", "CNY") == Money("CNY", 900719925474093)
    assert parse_amount("7", "CNY") == Money("CNY", 700)


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "1,234.50",
        "1e3",
        "+1",
        ".5",
        "1.",
        "1.234",
        "١٢",
        "1_0",
        "NaN",
        "-",
        "9" * 16,
        None,
        True,
        5,
        5.0,
        [],
        {},
    ],
)
def test_everything_else_is_no_amount(value: Any) -> None:
    with pytest.raises(AmountInvalid):
        parse_amount(value, "CNY")


def test_an_amount_finer_than_the_currency_is_refused_both_ways() -> None:
    with pytest.raises(AmountInvalid):
        parse_amount("1.50", "JPY")
    with pytest.raises(AmountInvalid):
        format_amount(Money("KWD", 1))


def test_trailing_blanks_go_and_leading_ones_stay() -> None:
    record = Record({"a": "  x y   ", "b": "   "}, "r")
    assert record.text("a") == "  x y"
    assert record.text("b") == record.text("absent") == ""
    with pytest.raises(AnswerUnusable, match=r"r\.b"):
        record.required("b")


@pytest.mark.parametrize("value", [None, 1, Number("1"), True, [], {}])
def test_a_text_must_be_a_text(value: Any) -> None:
    with pytest.raises(AnswerUnusable):
        Record({"reqNbr": value}, "r").text("reqNbr")


def test_dates_must_exist() -> None:
    assert Record({"d": "20240229"}, "r").day("d") == date(2024, 2, 29)
    assert Record({"d": " "}, "r").day("d") is None
    for bad in ("20230229", "2024-02-29", "20241301", "x", "２０２４０２２９"):
        with pytest.raises(AnswerUnusable):
            Record({"d": bad}, "r").day("d")


def test_arrays_must_be_arrays_of_objects() -> None:
    assert list(records({}, "x")) == []
    for bad in (None, {}, "x", [1], [{}, None]):
        with pytest.raises(AnswerUnusable):
            list(records({"x": bad}, "x"))
    with pytest.raises(AnswerUnusable):
        single({"x": [{}, {}]}, "x")

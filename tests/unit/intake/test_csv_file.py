"""CSV lists: encodings, delimiters, headers, damage."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yinqi.intake import FileRefused, read_payment_file
from yinqi.kernel.money import Money, format_decimal

from .lists import GOOD, csv_bytes, line

ENGLISH = (
    "end_to_end_id,debtor_account,creditor,creditor_account,creditor_agent_clearing_member_id,currency,amount\n"
    "SUP-1,755915678910001,ACME Ltd,1102020219000012345,102100099996,CNY,1.00\n"
)


def read(data: bytes, name: str = "list.csv"):
    return read_payment_file(data, name)


def refusal(data: bytes, name: str = "list.csv") -> FileRefused:
    with pytest.raises(FileRefused) as caught:
        read(data, name)
    assert caught.value.message
    assert caught.value.message_zh
    return caught.value


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "gbk"])
def test_chinese_lists_are_read_in_utf8_and_gb18030(encoding):
    (paid,) = read(csv_bytes([line()], encoding)).lines
    assert paid.creditor == GOOD["收款人"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_delimiter_is_found(delimiter):
    assert len(read(csv_bytes([line(1), line(2)], delimiter=delimiter)).lines) == 2


def test_english_column_names_are_read_too():
    assert len(read(ENGLISH.encode()).lines) == 1


def test_column_names_may_carry_remarks_and_stars():
    data = csv_bytes([line()]).decode().replace("金额", "金额（元）*", 1).encode()
    assert len(read(data).lines) == 1


def test_columns_that_are_not_ours_are_passed_over():
    data = ENGLISH.replace("amount\n", "amount,colour\n").replace("1.00\n", "1.00,red\n")
    assert len(read(data.encode()).lines) == 1


def test_a_missing_column_is_named_beside_what_was_found():
    error = refusal(ENGLISH.replace("currency", "colour").encode())
    assert error.reason == "COLUMN_MISSING"
    assert "币种 / currency" in error.message
    assert "colour" in error.message


def test_a_column_that_comes_twice_is_refused():
    data = ENGLISH.replace("amount\n", "amount,金额\n").replace("1.00\n", "1.00,2.00\n")
    assert refusal(data.encode()).reason == "COLUMN_REPEATED"


@pytest.mark.parametrize("encoding", ["big5", "utf-16", "utf-16-le", "shift_jis"])
def test_other_encodings_are_refused_not_guessed(encoding):
    traditional = "業務,收款人,國際,貿易,東莞,開發,銀行,關於,張貼"
    text = traditional if encoding != "shift_jis" else "振込先,口座番号,カナ氏名,ひらがな,東京"
    assert refusal((text + "\n" + text + "\n").encode(encoding)).reason == "ENCODING"


def test_latin_1_does_not_pass_as_gb18030():
    data = ENGLISH.replace("ACME Ltd", "Müller Straße Größe").encode("latin-1")
    assert refusal(data).reason == "ENCODING"


def test_two_encodings_in_one_file_are_refused():
    chinese = csv_bytes([line(1)], "gb18030")
    second = csv_bytes([line(2)], "utf-8").split(b"\r\n", 1)[1]
    error = refusal(chinese + second)
    assert error.reason == "ENCODING"
    assert "two encodings" in error.message


def test_garbled_column_names_say_so():
    garbled = csv_bytes([line()]).decode("gb18030", errors="replace").encode()
    assert refusal(garbled).reason == "MOJIBAKE"


def test_line_numbers_are_physical_lines():
    data = csv_bytes([line(1), line(2, 金额="0")]).replace(b"SUP-2", b"\r\n,,,,,\r\nSUP-2")
    (refused,) = read(data).refused
    assert refused.line == 5


def test_a_line_with_too_many_or_too_few_cells_is_refused_alone():
    data = csv_bytes([line(1), line(2), line(3)])
    data = data.replace(b"SUP-2,", b"SUP-2,extra,").replace(b"SUP-3,", b"")
    result = read(data)
    assert [refused.reason for refused in result.refused] == ["COLUMN_COUNT", "COLUMN_COUNT"]
    assert len(result.lines) == 1


def test_a_payment_hidden_behind_a_line_break_in_a_field_is_not_paid():
    hidden = ENGLISH.splitlines()[1].replace("SUP-1", "EVIL-1")
    data = ENGLISH.replace("ACME Ltd", f'"ACME\n{hidden}\n"') + ENGLISH.splitlines()[1].replace("SUP-1", "SUP-2") + "\n"
    result = read(data.encode())
    assert [paid.end_to_end_id for paid in result.lines] == ["SUP-2"]
    (refused,) = result.refused
    assert (refused.line, refused.reason) == (2, "LINE_BREAK")


def test_a_quote_that_never_closes_refuses_the_file_and_names_the_line():
    data = ENGLISH + 'SUP-2,"755915678910001,A,1,1,CNY,1.00\n' + ENGLISH.splitlines()[1] + "\n"
    error = refusal(data.encode())
    assert error.reason == "QUOTE_UNCLOSED"
    assert error.metadata["line"] == "3"


def test_a_wrong_quote_in_one_line_refuses_that_line_only():
    data = (
        ENGLISH + 'SUP-2,"7559"15678910001,A,1,102100099996,CNY,1.00\n' + ENGLISH.splitlines()[1].replace("SUP-1", "S3")
    )
    result = read(data.encode())
    assert [refused.reason for refused in result.refused] == ["LINE_UNREADABLE"]
    assert [paid.end_to_end_id for paid in result.lines] == ["SUP-1", "S3"]


def test_a_huge_line_is_refused_and_the_next_one_goes_on():
    data = csv_bytes([line(1, 附言="x" * 500_000), line(2)])
    result = read(data)
    assert [refused.line for refused in result.refused] == [2]
    assert [paid.end_to_end_id for paid in result.lines] == ["SUP-2"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "FILE_EMPTY"),
        (b"\xef\xbb\xbf  \r\n", "FILE_EMPTY"),
        (csv_bytes([]), "NO_LINES"),
        (b"\x00\x01\x02\x03" * 10, "ENCODING"),
        (b"hello\n", "COLUMN_MISSING"),
    ],
)
def test_a_file_without_payments_says_why(data, reason):
    assert refusal(data).reason == reason


def test_ten_thousand_lines_take_seconds_not_minutes():
    """The mark is 1.5 s on two idle cores (measured 0.6 to 0.9); the limit here only catches a wrong order of growth."""
    data = csv_bytes([line(number) for number in range(10_000)])
    start = time.process_time()
    assert len(read(data).lines) == 10_000
    assert time.process_time() - start < 5


_texts = st.text(
    st.characters(min_codepoint=0x4E00, max_codepoint=0x9FA5) | st.sampled_from('AZaz09 ,;"-.()（）'),
    min_size=1,
    max_size=60,
).filter(lambda text: text.strip(" \u3000") == text)


@settings(max_examples=60, deadline=None)
@given(
    creditor=_texts,
    remittance=_texts,
    minor_units=st.integers(min_value=1, max_value=10**15 - 1),
    currency=st.sampled_from(["CNY", "JPY", "KWD", "EUR"]),
    delimiter=st.sampled_from([",", ";", "\t"]),
)
def test_what_a_list_says_is_what_is_read(creditor, remittance, minor_units, currency, delimiter):
    money = Money(currency, minor_units)
    written = line(1, 收款人=creditor, 附言=remittance, 币种=currency, 金额=format_decimal(money))
    (paid,) = read(csv_bytes([written], delimiter=delimiter)).lines
    assert (paid.creditor, paid.remittance_information, paid.instructed_amount) == (creditor, remittance, money)


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=400))
def test_any_bytes_give_lines_or_a_typed_refusal(data):
    with contextlib.suppress(FileRefused):
        assert read_payment_file(data).count > 0

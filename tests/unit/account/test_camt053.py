"""camt.053 statements: other people's, wrong ones, hostile ones, large ones."""

from __future__ import annotations

import io
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yinqi.account.camt053 import (
    ENTRIES_PER_BATCH,
    EntriesRead,
    StatementClosed,
    StatementOpened,
    StatementRefused,
    StatementUnbalanced,
    parse_camt053,
    stream_camt053,
)
from yinqi.kernel.errors import InvalidRequest
from yinqi.kernel.money import Money, format_decimal
from yinqi.runtime.safe_xml import XmlRefused

VECTORS = Path(__file__).parents[2] / "vectors" / "camt053"
DEMO = Path(__file__).parents[3] / "services" / "yinqi" / "demo" / "data" / "camt053"


def balance(code: str, amount: str, indicator: str = "CRDT", currency: str = "CNY") -> str:
    return (
        f'<Bal><Tp><CdOrPrtry><Cd>{code}</Cd></CdOrPrtry></Tp><Amt Ccy="{currency}">{amount}</Amt>'
        f"<CdtDbtInd>{indicator}</CdtDbtInd><Dt><Dt>2026-11-20</Dt></Dt></Bal>"
    )


def entry(
    amount: str = "1.00",
    indicator: str = "CRDT",
    *,
    status: str = "<Cd>BOOK</Cd>",
    currency: str = "CNY",
    details: str = "",
    extra: str = "",
) -> str:
    return (
        f'<Ntry><Amt Ccy="{currency}">{amount}</Amt><CdtDbtInd>{indicator}</CdtDbtInd>{extra}<Sts>{status}</Sts>'
        f"<BookgDt><Dt>2026-11-20</Dt></BookgDt><AcctSvcrRef>REF</AcctSvcrRef>"
        f"<NtryDtls>{details}</NtryDtls></Ntry>"
    )


def detail(end_to_end_id: str, parties: str = "", amount: str = "") -> str:
    return f"<TxDtls><Refs><EndToEndId>{end_to_end_id}</EndToEndId></Refs>{amount}<RltdPties>{parties}</RltdPties></TxDtls>"


def statement(body: str, balances: str = "", account: str = "<Othr><Id>755915678910001</Id></Othr>") -> str:
    return (
        f"<Stmt><Id>S-1</Id><ElctrncSeqNb>7</ElctrncSeqNb><Acct><Id>{account}</Id><Ccy>CNY</Ccy></Acct>"
        f"{balances or balance('OPBD', '0.00') + balance('CLBD', '1.00')}{body}</Stmt>"
    )


def message(statements: str, version: str = "08", head: str = "") -> bytes:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>{head}'
        f'<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.{version}"><BkToCstmrStmt>'
        f"<GrpHdr><MsgId>M</MsgId></GrpHdr>{statements}</BkToCstmrStmt></Document>"
    ).encode()


def one(body: str, **arguments: str):
    (parsed,) = parse_camt053(message(statement(body, **arguments)))
    return parsed


def refusal(data: bytes | Path) -> InvalidRequest:
    with pytest.raises((StatementRefused, XmlRefused)) as caught:
        parse_camt053(data)
    assert caught.value.message_zh
    return caught.value


def test_a_statement_that_others_wrote_is_read_whole():
    (parsed,) = parse_camt053(DEMO / "ch.statement.camt.053.001.08.xml")

    header = parsed.header
    assert (header.statement_id, header.account, header.currency) == ("STMT-2026-0242", "CH5604835012345678009", "CHF")
    assert (header.electronic_sequence_number, header.from_date, header.to_date) == ("242", "2026-08-28", "2026-08-28")
    assert header.opening.amount == Money("CHF", 100000)
    assert header.closing.amount == Money("CHF", -294945)
    first = parsed.entries[0]
    assert first.amount == Money("CHF", 394975)
    assert (first.credit_debit_indicator, first.is_reversal, first.status) == ("DBIT", False, "BOOK")
    assert (first.booking_date, first.value_date) == ("2026-08-28", "2026-08-28")
    assert (first.account_servicer_reference, first.end_to_end_id, first.instruction_id) == (
        "ACSR-0001",
        "E2E-0001",
        "INSTR-0001",
    )
    assert (first.counterparty_name, first.counterparty_account) == ("Robert Schneider AG", "CH4431999123000889012")
    assert first.bank_transaction_code == "PMNT/ICDT/ESCT"
    assert parsed.entries[1].remittance_information == "Rueckerstattung Teil 1 von zwei"


def test_a_statement_that_does_not_add_up_is_refused_with_the_difference():
    error = refusal(VECTORS / "camt.053.001.08-sepa-statement.xml")
    assert isinstance(error, StatementUnbalanced)
    assert error.metadata["difference"] == "EUR -234307.25"
    assert "EUR -234307.25" in error.message


@pytest.mark.parametrize(
    ("path", "reason"),
    [("camt053_sample.xml", "BALANCE_MISSING"), ("camt.052.001.08.xml", "FORMAT_UNSUPPORTED")],
)
def test_a_file_without_balances_or_of_another_kind_is_refused(path, reason):
    assert refusal(VECTORS / path).reason == reason


@pytest.mark.parametrize("version", [f"{number:02d}" for number in range(2, 15)])
def test_every_version_is_read(version):
    status = "BOOK" if version in ("02", "03", "04") else "<Cd>BOOK</Cd>"
    (parsed,) = parse_camt053(message(statement(entry(status=status)), version))
    assert parsed.entries[0].status == "BOOK"


@pytest.mark.parametrize("version", ["01", "15"])
def test_other_versions_are_refused(version):
    assert refusal(message(statement(entry()), version)).reason == "FORMAT_VERSION_UNSUPPORTED"


def test_only_booked_entries_count_for_the_balances():
    parsed = one(entry() + entry("500.00", status="<Cd>PDNG</Cd>"))
    assert [e.status for e in parsed.entries] == ["BOOK", "PDNG"]


def test_the_indicator_of_a_reversal_is_its_own_direction():
    reversal = entry("2.00", "CRDT", extra="<RvslInd>true</RvslInd>")
    parsed = one(entry("1.00", "DBIT") + reversal)
    assert [e.is_reversal for e in parsed.entries] == [False, True]


def test_the_other_side_of_a_payment_and_of_its_reversal_is_the_creditor():
    parties = (
        "<Dbtr><Pty><Nm>Us</Nm></Pty></Dbtr><DbtrAcct><Id><Othr><Id>755915678910001</Id></Othr></Id></DbtrAcct>"
        "<Cdtr><Nm>Supplier</Nm></Cdtr><CdtrAcct><Id><IBAN>DE89370400440532013000</IBAN></Id></CdtrAcct>"
    )
    paid = entry("1.00", "DBIT", details=detail("E-1", parties))
    reversed_ = entry("2.00", "CRDT", details=detail("E-1", parties), extra="<RvslInd>true</RvslInd>")
    returned = entry("3.00", "CRDT", details=detail("E-1", parties))
    parsed = one(paid + reversed_ + returned, balances=balance("OPBD", "0") + balance("CLBD", "4.00"))
    assert [e.counterparty_name for e in parsed.entries] == ["Supplier"] * 3
    assert {e.counterparty_account for e in parsed.entries} == {"DE89370400440532013000"}


def test_an_entry_for_a_batch_keeps_its_details_and_names_none_of_them():
    many = "".join(
        detail(f"E-{n}", amount='<AmtDtls><TxAmt><Amt Ccy="CNY">0.10</Amt></TxAmt></AmtDtls>') for n in range(10)
    )
    (batch,) = one(entry("1.00", details=many)).entries
    assert batch.end_to_end_id == ""
    assert [d.end_to_end_id for d in batch.details] == [f"E-{n}" for n in range(10)]
    assert sum(d.amount.minor_units for d in batch.details) == batch.amount.minor_units


def test_a_reference_that_was_not_provided_is_none():
    (read,) = one(entry(details=detail("NOTPROVIDED"))).entries
    assert read.end_to_end_id == ""


def test_a_previous_closing_balance_opens_a_statement_too():
    assert one(entry(), balances=balance("PRCD", "4") + balance("CLBD", "5")).header.opening.code == "PRCD"


def test_several_statements_of_one_file_are_proved_each():
    good, bad = statement(entry()), statement(entry("2.00"))
    assert len(parse_camt053(message(good * 3))) == 3
    parts = stream_camt053(message(good + bad))
    assert [type(part) for part in (next(parts), next(parts), next(parts))] == [
        StatementOpened,
        EntriesRead,
        StatementClosed,
    ]
    with pytest.raises(StatementUnbalanced):
        list(parts)


def test_a_day_without_entries_is_a_statement():
    assert one("", balances=balance("OPBD", "5") + balance("CLBD", "5")).entries == ()


def test_five_decimals_are_read_if_the_last_are_zeros():
    assert one(entry("1.00000")).entries[0].amount == Money("CNY", 100)
    assert refusal(message(statement(entry("1.00001")))).reason == "AMOUNT_DECIMALS"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (entry("-1.00"), "AMOUNT_FORMAT"),
        (entry("1,00"), "AMOUNT_FORMAT"),
        (entry(""), "FIELD_MISSING"),
        (entry(currency="XXX"), "CURRENCY_UNKNOWN"),
        (entry(currency="USD"), "CURRENCY_MIXED"),
        (entry(indicator="BOTH"), "FIELD_INVALID"),
        (entry().replace("2026-11-20", "20.11.2026"), "FIELD_INVALID"),
        (entry().replace("Ntry>", "Other>"), "STATEMENT_UNBALANCED"),
        (entry() + entry(), "STATEMENT_UNBALANCED"),
        ("<TxsSummry><TtlNtries><NbOfNtries>2</NbOfNtries></TtlNtries></TxsSummry>" + entry(), "TOTALS_MISMATCH"),
    ],
)
def test_a_wrong_entry_refuses_the_whole_statement(body, reason):
    assert refusal(message(statement(body))).reason == reason


def test_a_statement_without_an_account_is_refused():
    assert refusal(message(statement(entry(), account=""))).reason == "FIELD_MISSING"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "XML_MALFORMED"),
        (b"not xml", "XML_MALFORMED"),
        (b"<a/>", "NO_STATEMENTS"),
        (message(""), "NO_STATEMENTS"),
        (message(statement(entry()))[:-60], "XML_MALFORMED"),
        (message(statement("&x;"), head='<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>'), "XML_DOCTYPE"),
        (message(statement(""), head=f"<!--{'x' * 100_000}--><!DOCTYPE a []>"), "XML_DOCTYPE"),
        (message(statement("<a>" * 10_000 + "</a>" * 10_000)), "XML_TOO_DEEP"),
        (message(statement(entry())).decode().encode("utf-16"), "XML_ENCODING"),
        (message(statement(entry(extra="\x01"))), "XML_MALFORMED"),
    ],
    ids=lambda value: value if isinstance(value, str) else "data",
)
def test_hostile_and_broken_xml_is_refused(data, reason):
    assert refusal(data).reason == reason


def test_an_entity_bomb_is_refused_at_once():
    entities = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
    start = time.monotonic()
    error = refusal(message(statement("&l11;"), head=f'<!DOCTYPE a [<!ENTITY l0 "lol">{entities}]>'))
    assert error.reason == "XML_DOCTYPE"
    assert time.monotonic() - start < 10  # it would never end


class _Endless(io.RawIOBase):
    """A statement of n entries that is never in memory as a whole; seekable within its first bytes."""

    def __init__(self, count: int) -> None:
        self._parts = self._make(count)
        self._ready = b""
        self._given = b""

    @staticmethod
    def _make(count: int) -> Iterator[bytes]:
        opened = statement("@", balances=balance("OPBD", "0") + balance("CLBD", f"{count}.00"))
        before, after = message(opened).split(b"@")
        yield before
        block = (entry(details=detail("E-1", "<Dbtr><Nm>" + "付款人" * 10 + "</Nm></Dbtr>")) * 500).encode()
        for _ in range(count // 500):
            yield block
        yield after

    def read(self, size: int = -1) -> bytes:
        while len(self._ready) < size and (part := next(self._parts, b"")):
            self._ready += part
        chunk, self._ready = self._ready[:size], self._ready[size:]
        self._given = chunk
        return chunk

    def tell(self) -> int:
        return 0

    def seek(self, position: int, whence: int = 0) -> int:
        self._ready = self._given + self._ready
        return 0


def test_memory_stays_flat_over_a_large_statement():
    def read(count: int) -> int:
        return sum(len(part.entries) for part in stream_camt053(_Endless(count)) if isinstance(part, EntriesRead))

    assert read(2_000) == 2_000
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert read(15_000) == 15_000  # 8 MB of XML
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 4 * 1024


def test_entries_come_in_batches():
    parts = list(stream_camt053(_Endless(2_500)))
    assert [len(p.entries) for p in parts if isinstance(p, EntriesRead)] == [ENTRIES_PER_BATCH, ENTRIES_PER_BATCH, 500]
    assert isinstance(parts[-1], StatementClosed)
    assert parts[-1].entry_count == 2_500


@settings(max_examples=60, deadline=None)
@given(
    opening=st.integers(-(10**12), 10**12),
    effects=st.lists(st.integers(-(10**10), 10**10), max_size=20),
    error=st.sampled_from([0, 0, 1, -1]),
    currency=st.sampled_from(["CNY", "JPY", "KWD"]),
)
def test_a_statement_is_taken_exactly_if_it_adds_up(opening, effects, error, currency):
    def signed(code: str, minor_units: int) -> str:
        amount = format_decimal(Money(currency, abs(minor_units)))
        return balance(code, amount, "CRDT" if minor_units >= 0 else "DBIT", currency)

    body = "".join(
        entry(format_decimal(Money(currency, abs(e))), "CRDT" if e >= 0 else "DBIT", currency=currency) for e in effects
    )
    balances = signed("OPBD", opening) + signed("CLBD", opening + sum(effects) + error)
    data = message(statement(body, balances)).replace(b"<Ccy>CNY</Ccy>", f"<Ccy>{currency}</Ccy>".encode())
    if error:
        assert refusal(data).reason == "STATEMENT_UNBALANCED"
    else:
        (parsed,) = parse_camt053(data)
        assert [e.signed_minor_units for e in parsed.entries] == effects

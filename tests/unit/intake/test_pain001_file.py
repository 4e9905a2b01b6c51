"""pain.001 files: other people's, and hostile ones."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from yinqi.intake import FileRefused, read_payment_file
from yinqi.kernel.money import Money

VECTORS = Path(__file__).parents[2] / "vectors" / "pain001"
DEMO = Path(__file__).parents[3] / "services" / "yinqi" / "demo" / "data" / "pain001"


def message(
    transfers: str = "", *, count: int = 1, control_sum: str = "1.00", version: str = "09", head: str = ""
) -> bytes:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>{head}'
        f'<Document xmlns="urn:iso:std:iso:20022:tech:xsd:pain.001.001.{version}"><CstmrCdtTrfInitn>'
        f"<GrpHdr><MsgId>M-1</MsgId><NbOfTxs>{count}</NbOfTxs><CtrlSum>{control_sum}</CtrlSum></GrpHdr>"
        "<PmtInf><PmtInfId>P-1</PmtInfId><PmtMtd>TRF</PmtMtd><ReqdExctnDt><Dt>2026-11-20</Dt></ReqdExctnDt>"
        "<Dbtr><Nm>华东精工</Nm></Dbtr><DbtrAcct><Id><Othr><Id>755915678910001</Id></Othr></Id><Ccy>CNY</Ccy></DbtrAcct>"
        f"{transfers or transfer()}</PmtInf></CstmrCdtTrfInitn></Document>"
    ).encode()


def transfer(end_to_end_id: str = "E-1", amount: str = "1.00", clearing: str = "CNAPS", extra: str = "") -> str:
    return (
        f"<CdtTrfTxInf><PmtId><EndToEndId>{end_to_end_id}</EndToEndId></PmtId>"
        f'<Amt><InstdAmt Ccy="CNY">{amount}</InstdAmt></Amt>'
        f"<CdtrAgt><FinInstnId><ClrSysMmbId><ClrSysId><Cd>{clearing}</Cd></ClrSysId><MmbId>102100099996</MmbId></ClrSysMmbId>"
        "</FinInstnId></CdtrAgt><Cdtr><Nm>苏州瑞丰</Nm></Cdtr>"
        f"<CdtrAcct><Id><Othr><Id>1102020219000012345</Id></Othr></Id></CdtrAcct>{extra}</CdtTrfTxInf>"
    )


def refusal(source: bytes | Path, name: str = "payments.xml") -> FileRefused:
    with pytest.raises(FileRefused) as caught:
        read_payment_file(source, name)
    assert caught.value.message_zh
    return caught.value


@pytest.mark.parametrize(
    ("name", "count", "currency", "total", "day"),
    [
        ("ch.sps.scor.pain.001.001.09.xml", 2, "CHF", 112740, "2026-09-22"),
        ("de.sepa.sct-salary.pain.001.001.13.xml", 2, "EUR", 623050, "2026-09-28"),
        ("gb.bacs.supplier-run.pain.001.001.03.xml", 2, "GBP", 576050, "2026-09-18"),
        ("hk.fps.single.pain.001.001.09.xml", 1, "HKD", 6850000, "2026-09-21"),
        ("nl.four-payments.pain.001.001.03.xml", 4, "EUR", 2063075, "2026-10-01"),
    ],
)
def test_files_that_others_wrote_are_read_whole(name, count, currency, total, day):
    read = read_payment_file(DEMO / name)

    assert not read.refused
    assert (len(read.lines), read.declared_count) == (count, count)
    assert {line.instructed_amount.currency for line in read.lines} == {currency}
    assert sum(line.instructed_amount.minor_units for line in read.lines) == total
    assert {line.requested_execution_date for line in read.lines} == {day}


def test_every_field_of_a_salary_file_arrives():
    line = read_payment_file(DEMO / "de.sepa.sct-salary.pain.001.001.13.xml").lines[1]

    assert (line.end_to_end_id, line.payment_information_id) == ("SAL-2026-09-0002", "SAL-2026-09")
    assert (line.debtor, line.debtor_account.identification) == ("Musterfirma GmbH", "DE09028457998082047609")
    assert (line.debtor_account.scheme, line.debtor_agent.bicfi) == ("IBAN", "OPSHDEW0")
    assert (line.creditor, line.creditor_agent.bicfi) == ("Max Mustermann", "DQBJDEN0")
    assert (line.category_purpose, line.purpose) == ("SALA", "SALA")
    assert line.remittance_information == "RF18539007547034"
    assert line.where.endswith("/Document/CstmrCdtTrfInitn/PmtInf[1]/CdtTrfTxInf[2]")


def test_a_foreign_clearing_code_is_kept_apart_from_cnaps():
    line = read_payment_file(DEMO / "gb.bacs.supplier-run.pain.001.001.03.xml").lines[0]
    assert (line.creditor_agent.clearing_member_id, line.creditor_agent.bicfi) == ("", "HERAGB80")
    assert line.creditor_agent.other_clearing_member_id == "GBDSC:200415"


def test_a_cnaps_code_is_found_by_its_clearing_system():
    (line,) = read_payment_file(message(), "a.xml").lines
    assert line.creditor_agent.clearing_member_id == "102100099996"
    assert line.instructed_amount == Money("CNY", 100)


@pytest.mark.parametrize("version", ["03", "04", "05", "06", "07", "08", "09", "10", "11", "12", "13"])
def test_every_version_from_3_to_13_is_read(version):
    assert len(read_payment_file(message(version=version), "a.xml").lines) == 1


@pytest.mark.parametrize("version", ["02", "14"])
def test_other_versions_are_refused_by_number(version):
    assert refusal(message(version=version)).reason == "FORMAT_VERSION_UNSUPPORTED"


def test_an_envelope_around_the_message_does_not_matter():
    inner = message().split(b"?>", 1)[1]
    data = (
        b'<Envelope><AppHdr xmlns="urn:iso:std:iso:20022:tech:xsd:head.001.001.02"><Fr/></AppHdr>'
        + inner
        + b"</Envelope>"
    )
    assert len(read_payment_file(data, "a.xml").lines) == 1


@pytest.mark.parametrize(
    ("name", "reason", "words"),
    [
        ("pain001_broken_ctrlsum.xml", "TOTALS_MISMATCH", "states CtrlSum 20630.00 but holds 20630.75"),
        ("pain001_broken_nboftxs.xml", "TOTALS_MISMATCH", "states NbOfTxs 5 but holds 4"),
        ("pain001_broken_namespace.xml", "TOTALS_MISMATCH", "CtrlSum"),
        ("pain001_broken_not_xml.xml", "FILE_NOT_WHAT_ITS_NAME_SAYS", ".csv"),
        ("pain001_broken_unknown_message.xml", "FORMAT_UNSUPPORTED", "pain.007"),
    ],
)
def test_a_file_with_wrong_totals_or_another_message_is_refused(name, reason, words):
    error = refusal(VECTORS / name, "")
    assert error.reason == reason
    assert words in error.message


@pytest.mark.parametrize(
    ("name", "field", "reason", "others"),
    [
        ("pain001_broken_iban.xml", "creditor_account.identification", "CHECK_DIGIT", 3),
        ("pain001_broken_duplicate_end_to_end_id.xml", "end_to_end_id", "END_TO_END_ID_REUSED", 3),
        ("pain.001.001.09-remittance-parties.xml", "instructed_amount", "EQUIVALENT_AMOUNT", 0),
        ("us.check.vendor.pain.001.001.09.xml", "payment_method", "PAYMENT_METHOD_UNSUPPORTED", 0),
    ],
)
def test_a_wrong_transfer_is_refused_by_xml_line_and_path(name, field, reason, others):
    read = read_payment_file(VECTORS / name)
    (refused,) = read.refused
    assert (refused.field, refused.reason) == (field, reason)
    assert refused.line > 1
    assert "/CdtTrfTxInf[" in refused.where
    assert len(read.lines) == others


def test_a_bank_known_only_by_a_foreign_clearing_code_is_refused():
    (refused,) = read_payment_file(message(transfer(clearing="USABA")), "a.xml").refused
    assert refused.reason == "CLEARING_SYSTEM_UNSUPPORTED"


def test_what_the_transfer_says_goes_before_what_its_batch_says():
    data = message().replace(
        b"<PmtMtd>TRF</PmtMtd>", b"<PmtMtd>TRF</PmtMtd><PmtTpInf><CtgyPurp><Cd>SUPP</Cd></CtgyPurp></PmtTpInf>"
    )
    assert read_payment_file(data, "a.xml").lines[0].category_purpose == "SUPP"
    data = data.replace(b"<Amt>", b"<PmtTpInf><CtgyPurp><Cd>TAXS</Cd></CtgyPurp></PmtTpInf><Amt>")
    assert read_payment_file(data, "a.xml").lines[0].category_purpose == "TAXS"


def test_gb18030_is_read_where_the_xml_says_so():
    data = message().decode().replace('encoding="UTF-8"', 'encoding="GB18030"').encode("gb18030")
    assert read_payment_file(data, "a.xml").lines[0].creditor == "苏州瑞丰"


_LAUGHS = '<!DOCTYPE a [<!ENTITY l "lol">' + "".join(
    f'<!ENTITY l{n} "{f"&l{n - 1};" * 10 if n else "&l;" * 10}">' for n in range(10)
)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (message(transfer("&l9;"), head=_LAUGHS + "]>"), "XML_DOCTYPE"),
        (message(transfer("&x;"), head='<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>'), "XML_DOCTYPE"),
        (message(head='<!DOCTYPE a SYSTEM "http://127.0.0.1:1/a.dtd">'), "XML_DOCTYPE"),
        (message(head=f"<!--{'x' * 100_000}-->" + _LAUGHS + "]>"), "XML_DOCTYPE"),
        (message(transfer("&undefined;")), "XML_MALFORMED"),
        (message(transfer(extra="<a>" * 10_000 + "</a>" * 10_000)), "XML_TOO_DEEP"),
        (b"<a>" * 10_000 + b"</a>" * 10_000, "XML_TOO_DEEP"),
        (message()[:-40], "XML_MALFORMED"),
        (message()[:300], "XML_MALFORMED"),
        (message().replace(b"UTF-8", b"UTF-7"), "XML_ENCODING"),
        (message().decode().replace("UTF-8", "UTF-16").encode("utf-16"), "ENCODING"),
        (message().replace("苏州瑞丰".encode(), "苏州瑞丰".encode("gb18030")), "XML_MALFORMED"),
        (message(transfer(extra=f"<RmtInf><Ustrd>{'x' * 11_000_000}</Ustrd></RmtInf>")), "XML_MALFORMED"),
        (b"<a/>", "FORMAT_UNSUPPORTED"),
        (b"<html><body>error</body></html>", "FORMAT_UNSUPPORTED"),
        (message(count=0, control_sum="0").replace(transfer().encode(), b""), "NO_LINES"),
        (message().replace(b"<NbOfTxs>1</NbOfTxs>", b""), "TOTALS_MISSING"),
        (message(count=2), "TOTALS_MISMATCH"),
    ],
    ids=lambda value: value if isinstance(value, str) else "data",
)
def test_hostile_and_broken_xml_is_refused_at_once(data, reason):
    start = time.monotonic()
    error = refusal(data, "")
    assert error.reason == reason
    assert time.monotonic() - start < 20  # a bomb would never end


def test_ten_thousand_transfers_are_read_and_each_refusal_names_its_place():
    transfers = "\n".join(transfer(f"E-{n}") for n in range(9_999)) + transfer("E-last", amount="0.00")
    read = read_payment_file(message(transfers, count=10_000, control_sum="9999.00"), "a.xml")

    assert len(read.lines) == 9_999
    (refused,) = read.refused
    assert refused.where.endswith("PmtInf[1]/CdtTrfTxInf[10000]")
    assert refused.line == 9_999

"""Bank statements in ISO 20022: camt.053.001.02 to .14, read as a stream with flat memory.

A statement counts only if it proves itself: opening balance plus all booked entries must give the closing balance.
Source: ISO 20022 message definition report, BankToCustomerStatement; decision on reversals: CdtDbtInd already is the
direction of the entry itself, RvslInd only says why.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from yinqi.kernel.errors import AmountInvalid, InvalidRequest
from yinqi.kernel.money import Money, currency_exponent
from yinqi.runtime.safe_xml import Record, RecordSpec, iterate_records, open_source

ENTRIES_PER_BATCH = 1_000
ENTRIES_MAX = 2_000_000
STATEMENTS_MAX = 10_000

_ROOT = "BkToCstmrStmt"
# Older versions write Sts and Nm directly, newer ones Sts/Cd and Pty/Nm; both are read whatever the version says.
_BALANCE = RecordSpec(
    "Bal", "Stmt/Bal", ("Tp/CdOrPrtry/Cd", "Tp/CdOrPrtry/Prtry", "Amt", "CdtDbtInd", "Dt/Dt", "Dt/DtTm")
)
_DETAIL = RecordSpec(
    "TxDtls",
    "Stmt/Ntry/NtryDtls/TxDtls",
    (
        *("Refs/EndToEndId", "Refs/InstrId", "Refs/AcctSvcrRef", "Amt", "AmtDtls/TxAmt/Amt"),
        *("RltdPties/Dbtr/Nm", "RltdPties/Dbtr/Pty/Nm", "RltdPties/Dbtr/Agt/FinInstnId/Nm"),
        *("RltdPties/DbtrAcct/Id/IBAN", "RltdPties/DbtrAcct/Id/Othr/Id"),
        *("RltdPties/Cdtr/Nm", "RltdPties/Cdtr/Pty/Nm", "RltdPties/Cdtr/Agt/FinInstnId/Nm"),
        *("RltdPties/CdtrAcct/Id/IBAN", "RltdPties/CdtrAcct/Id/Othr/Id"),
        *("RmtInf/Ustrd*", "RmtInf/Strd/CdtrRefInf/Ref*", "RtrInf/Rsn/Cd", "RtrInf/Rsn/Prtry"),
    ),
)
_ENTRY = RecordSpec(
    "Ntry",
    "Stmt/Ntry",
    (
        *("NtryRef", "Amt", "CdtDbtInd", "RvslInd", "Sts", "Sts/Cd", "Sts/Prtry", "AcctSvcrRef", "AddtlNtryInf"),
        *("BookgDt/Dt", "BookgDt/DtTm", "ValDt/Dt", "ValDt/DtTm"),
        *("BkTxCd/Domn/Cd", "BkTxCd/Domn/Fmly/Cd", "BkTxCd/Domn/Fmly/SubFmlyCd", "BkTxCd/Prtry/Cd"),
    ),
)
_STATEMENT = RecordSpec(
    "Stmt",
    "Stmt",
    (
        *("Id", "ElctrncSeqNb", "StmtPgntn/PgNb", "StmtPgntn/LastPgInd", "Acct/Ccy"),
        *("Acct/Id/IBAN", "Acct/Id/Othr/Id", "Acct/Id/BBAN", "TxsSummry/TtlNtries/NbOfNtries"),
        *("FrToDt/FrDtTm", "FrToDt/ToDtTm", "FrToDt/FrDt", "FrToDt/ToDt"),
    ),
)
_MESSAGE = re.compile(r"(?:^|[:/#])([a-z]{4}\.\d{3})\.\d{3}\.(\d{2})")
_VERSIONS = range(2, 15)
_AMOUNT = re.compile(r"([0-9]{1,18})(?:\.([0-9]{0,17}))?")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_OPENING = ("OPBD", "PRCD")
_CLOSING = "CLBD"
Texts = Mapping[str, str]


class StatementRefused(InvalidRequest):
    """The statement file cannot be used; nothing of it may be imported.

    Reasons: FORMAT_UNSUPPORTED, FORMAT_VERSION_UNSUPPORTED, NO_STATEMENTS, LIMIT_EXCEEDED, FIELD_MISSING, FIELD_INVALID,
    AMOUNT_FORMAT, AMOUNT_DECIMALS, CURRENCY_UNKNOWN, CURRENCY_MIXED, BALANCE_MISSING, TOTALS_MISMATCH; XML that is unsafe
    or broken raises `XmlRefused` (XML_ENCODING, XML_DOCTYPE, XML_TOO_DEEP, XML_MALFORMED).
    """


class StatementUnbalanced(StatementRefused):
    """Opening balance + booked entries ≠ closing balance; `metadata` names all four numbers and the difference."""


@dataclass(frozen=True, slots=True)
class Camt053Balance:
    """A balance (余额).

    Attributes:
        code: OPBD opening booked, CLBD closing booked, PRCD previous closing, OPAV, CLAV, FWAV, ITBD, …
        amount: signed: a debit balance (we owe the bank) is negative.
        date: ISO 8601.
    """

    code: str
    amount: Money
    date: str


@dataclass(frozen=True, slots=True)
class Camt053Detail:
    """One transaction below an entry (TxDtls). An entry for a batch has many.

    Attributes:
        amount: positive; None where the bank gives none for the single transaction.
        counterparty_name, counterparty_account: the other side, seen from the statement's account.
        remittance_information: unstructured texts, then structured references, joined by a blank.
    """

    end_to_end_id: str
    instruction_id: str
    account_servicer_reference: str
    amount: Money | None
    counterparty_name: str
    counterparty_account: str
    remittance_information: str
    return_reason: str


@dataclass(frozen=True, slots=True)
class Camt053Entry:
    """One entry of the account (Ntry).

    Attributes:
        amount: positive, direction in credit_debit_indicator ("CRDT" money came in, "DBIT" it went out).
        is_reversal: RvslInd: it undoes an earlier entry.
        status: BOOK, PDNG, INFO, … Only BOOK counts for the balances.
        booking_date, value_date: ISO 8601; "" if absent.
        account_servicer_reference: the bank's serial (AcctSvcrRef, else that of the single detail, else NtryRef).
        end_to_end_id, instruction_id, counterparty_name, counterparty_account, remittance_information: of the single
            detail; "" when there are several (a batch): see details.
        bank_transaction_code: "PMNT/ICDT/ESCT", or the bank's own code.
        details: every TxDtls, in order.
    """

    amount: Money
    credit_debit_indicator: str
    is_reversal: bool
    status: str
    booking_date: str
    value_date: str
    account_servicer_reference: str
    end_to_end_id: str
    instruction_id: str
    counterparty_name: str
    counterparty_account: str
    remittance_information: str
    bank_transaction_code: str
    details: tuple[Camt053Detail, ...] = ()

    @property
    def signed_minor_units(self) -> int:
        """Effect on the balance: positive for CRDT."""
        return self.amount.minor_units if self.credit_debit_indicator == "CRDT" else -self.amount.minor_units


@dataclass(frozen=True, slots=True)
class Camt053Header:
    """What a statement says about itself, before its entries.

    Attributes:
        account: IBAN or the bank's own number.
        electronic_sequence_number: ElctrncSeqNb, "" if absent; a gap shows a missing statement.
        from_date, to_date: ISO 8601 dates; "" if absent.
        page_number, is_last_page: StmtPgntn; "1" and True if absent.
    """

    statement_id: str
    account: str
    currency: str
    electronic_sequence_number: str
    from_date: str
    to_date: str
    page_number: str
    is_last_page: bool
    balances: tuple[Camt053Balance, ...]

    def balance(self, code: str) -> Camt053Balance | None:
        """Return the first balance with this code."""
        return next((balance for balance in self.balances if balance.code == code), None)

    @property
    def opening(self) -> Camt053Balance | None:
        """OPBD, or PRCD (the previous closing) where the bank gives only that."""
        return next(filter(None, (self.balance(code) for code in _OPENING)), None)

    @property
    def closing(self) -> Camt053Balance | None:
        """CLBD."""
        return self.balance(_CLOSING)


@dataclass(frozen=True, slots=True)
class StatementOpened:
    """Part of the stream: a statement begins."""

    header: Camt053Header


@dataclass(frozen=True, slots=True)
class EntriesRead:
    """Part of the stream: the next 1 to ENTRIES_PER_BATCH entries of the statement that was opened last."""

    entries: tuple[Camt053Entry, ...]


@dataclass(frozen=True, slots=True)
class StatementClosed:
    """Part of the stream: all entries came and the balances were proved."""

    header: Camt053Header
    entry_count: int


StatementPart = StatementOpened | EntriesRead | StatementClosed


@dataclass(frozen=True, slots=True)
class Camt053Statement:
    """A whole statement in memory, its balances proved."""

    header: Camt053Header
    entries: tuple[Camt053Entry, ...]


def stream_camt053(source: bytes | Path | BinaryIO) -> Iterator[StatementPart]:
    """Yield the statements of a file in parts: opened, entries in batches, closed.

    Memory does not grow with the file. A refusal may come after entries were yielded: import in one transaction and let
    the exception roll it back.

    Raises:
        StatementRefused, XmlRefused: see there. StatementUnbalanced names the difference.
    """
    stream = open_source(source)
    try:
        yield from _read(stream)
    finally:
        if isinstance(source, Path):
            stream.close()


def parse_camt053(source: bytes | Path | BinaryIO) -> list[Camt053Statement]:
    """Return all statements of a file at once, for files that are known to be small.

    Raises:
        As `stream_camt053`.
    """
    statements = []
    entries: list[Camt053Entry] = []
    for part in stream_camt053(source):
        if isinstance(part, EntriesRead):
            entries += part.entries
        elif isinstance(part, StatementClosed):
            statements.append(Camt053Statement(part.header, tuple(entries)))
            entries = []
    return statements


@dataclass(slots=True)
class _Open:
    """The statement that is being read."""

    header: Camt053Header | None = None
    balances: list[Camt053Balance] = field(default_factory=list)
    details: list[Texts] = field(default_factory=list)
    batch: list[Camt053Entry] = field(default_factory=list)
    count: int = 0
    booked_minor_units: int = 0

    def take(self, entry: Camt053Entry) -> None:
        self.batch.append(entry)
        self.count += 1
        if entry.status == "BOOK":
            self.booked_minor_units += entry.signed_minor_units

    def empty_batch(self) -> Iterator[EntriesRead]:
        if self.batch:
            yield EntriesRead(tuple(self.batch))
            self.batch = []


def _read(stream: BinaryIO) -> Iterator[StatementPart]:
    current = _Open()
    statements = 0
    for record in iterate_records(stream, _ROOT, (_STATEMENT, _BALANCE, _ENTRY, _DETAIL), _check_message):
        if record.name == "TxDtls":
            current.details.append(record.texts)
        elif record.name == "Ntry":
            yield from _take_entry(record, current)
        elif record.name == "Bal":
            current.balances.append(_balance(record.texts))
        else:
            statements += 1
            _check_limit(statements, STATEMENTS_MAX, "statements")
            yield from _close(record.texts, current)
            current = _Open()
    if not statements:
        raise StatementRefused("NO_STATEMENTS", "the file holds no statement", "文件中没有对账单")


def _check_message(uri: str) -> None:
    """The namespace tells the message; a file without one is taken by its element names."""
    message = _MESSAGE.search(uri)
    if message is None or message.group(1) == "head.001":
        return
    if message.group(1) != "camt.053":
        raise StatementRefused(
            "FORMAT_UNSUPPORTED",
            f"the file is a {message.group(1)} message, not an end-of-day statement (camt.053)",
            f"文件是 {message.group(1)} 报文，不是日终对账单 (camt.053)",
        )
    if int(message.group(2)) not in _VERSIONS:
        raise StatementRefused(
            "FORMAT_VERSION_UNSUPPORTED",
            f"version {message.group(2)} of camt.053 is not known; camt.053.001.02 to .14 are read",
            f"不支持 camt.053 的版本 {message.group(2)}，可读取 camt.053.001.02 至 .14",
        )


def _take_entry(record: Record, current: _Open) -> Iterator[StatementPart]:
    """Balances stand before the entries (XSD sequence), so the header is complete at the first entry."""
    if current.header is None:
        current.header = _header(record.outer, current.balances)
        yield StatementOpened(current.header)
    current.take(_entry(record.texts, current.details, current.header))
    current.details = []
    if len(current.batch) >= ENTRIES_PER_BATCH:
        _check_limit(current.count, ENTRIES_MAX, "entries")
        yield from current.empty_batch()


def _close(texts: Texts, current: _Open) -> Iterator[StatementPart]:
    if current.header is None:
        current.header = _header(texts, current.balances)
        yield StatementOpened(current.header)
    yield from current.empty_batch()
    _prove_balances(current.header, current.booked_minor_units)
    _check_summary(texts, current.count, current.header)
    yield StatementClosed(current.header, current.count)


def _prove_balances(header: Camt053Header, booked_minor_units: int) -> None:
    opening, closing = header.opening, header.closing
    if opening is None or closing is None:
        missing = "opening (OPBD or PRCD)" if opening is None else "closing (CLBD)"
        raise StatementRefused(
            "BALANCE_MISSING",
            f"statement {header.statement_id} has no {missing} balance, so it cannot be proved complete",
            f"对账单 {header.statement_id} 缺少余额 {missing}，无法证明其完整",
            metadata={"statement_id": header.statement_id},
        )
    booked = Money(header.currency, booked_minor_units)
    difference = closing.amount - (opening.amount + booked)
    if difference.minor_units:
        raise StatementUnbalanced(
            "STATEMENT_UNBALANCED",
            f"statement {header.statement_id} does not add up: opening {opening.amount} + entries {booked} differs from "
            f"closing {closing.amount} by {difference}; entries are missing or doubled. Ask the bank for it again",
            f"对账单 {header.statement_id} 不平：期初 {opening.amount} 加发生额 {booked} 与期末 {closing.amount} 相差 "
            f"{difference}；明细缺失或重复，请向银行重新索取",
            metadata={
                "statement_id": header.statement_id,
                "opening": str(opening.amount),
                "entries": str(booked),
                "closing": str(closing.amount),
                "difference": str(difference),
            },
        )


def _check_summary(texts: Texts, count: int, header: Camt053Header) -> None:
    """TxsSummry, where the bank gives one, must state the number of entries that came."""
    stated = _first(texts, "TxsSummry/TtlNtries/NbOfNtries")
    if stated and stated != str(count):
        raise StatementRefused(
            "TOTALS_MISMATCH",
            f"statement {header.statement_id} states {stated[:20]} entries but holds {count}",
            f"对账单 {header.statement_id} 写明 {stated[:20]} 笔明细，实际 {count} 笔",
            metadata={"stated": stated[:20], "found": str(count)},
        )


def _check_limit(count: int, limit: int, what: str) -> None:
    if count > limit:
        raise StatementRefused(
            "LIMIT_EXCEEDED", f"the file has more than {limit:,} {what}", f"文件内容超过上限 {limit:,}"
        )


def _header(texts: Texts, balances: Sequence[Camt053Balance]) -> Camt053Header:
    statement_id = texts.get("Id") or _raise_missing("Stmt/Id")
    account = _first(texts, "Acct/Id/IBAN", "Acct/Id/Othr/Id", "Acct/Id/BBAN").replace(" ", "")
    if not account:
        raise _missing("Stmt/Acct/Id")
    booked = [balance for balance in balances if balance.code in (*_OPENING, _CLOSING)]
    currencies = {balance.amount.currency for balance in booked}
    currency = _first(texts, "Acct/Ccy") or next(iter(sorted(currencies)), "")
    for balance in booked:
        _same_currency(balance.amount.currency, currency, f"balance {balance.code}")
    return Camt053Header(
        statement_id=statement_id,
        account=account,
        currency=currency,
        electronic_sequence_number=_first(texts, "ElctrncSeqNb"),
        from_date=_first(texts, "FrToDt/FrDtTm", "FrToDt/FrDt")[:10],
        to_date=_first(texts, "FrToDt/ToDtTm", "FrToDt/ToDt")[:10],
        page_number=_first(texts, "StmtPgntn/PgNb") or "1",
        is_last_page=_first(texts, "StmtPgntn/LastPgInd") not in ("false", "0"),
        balances=tuple(balances),
    )


def _balance(texts: Texts) -> Camt053Balance:
    code = _first(texts, "Tp/CdOrPrtry/Cd", "Tp/CdOrPrtry/Prtry")
    amount = _money(texts, "Amt", "Bal/Amt")
    sign = 1 if _indicator(texts, "Bal") == "CRDT" else -1
    return Camt053Balance(code, Money(amount.currency, sign * amount.minor_units), _date(texts, "Dt", "Bal/Dt"))


def _entry(texts: Texts, transactions: Sequence[Texts], header: Camt053Header) -> Camt053Entry:
    indicator = _indicator(texts, "Ntry")
    is_reversal = _first(texts, "RvslInd") in ("true", "1")
    amount = _money(texts, "Amt", "Ntry/Amt")
    _same_currency(amount.currency, header.currency, "an entry")
    details = tuple(_detail(transaction, indicator, is_reversal, header.account) for transaction in transactions)
    only = details[0] if len(details) == 1 else _NO_DETAIL
    return Camt053Entry(
        amount=amount,
        credit_debit_indicator=indicator,
        is_reversal=is_reversal,
        status=_first(texts, "Sts", "Sts/Cd", "Sts/Prtry"),
        booking_date=_date(texts, "BookgDt", "Ntry/BookgDt"),
        value_date=_date(texts, "ValDt", "Ntry/ValDt"),
        account_servicer_reference=_first(texts, "AcctSvcrRef")
        or only.account_servicer_reference
        or _first(texts, "NtryRef"),
        end_to_end_id=only.end_to_end_id,
        instruction_id=only.instruction_id,
        counterparty_name=only.counterparty_name,
        counterparty_account=only.counterparty_account,
        remittance_information=only.remittance_information or _first(texts, "AddtlNtryInf"),
        bank_transaction_code=_bank_transaction_code(texts),
        details=details,
    )


_NO_DETAIL = Camt053Detail("", "", "", None, "", "", "", "")


def _detail(texts: Texts, indicator: str, is_reversal: bool, own_account: str) -> Camt053Detail:
    name, account = _counterparty(texts, indicator, is_reversal, own_account)
    end_to_end_id = _first(texts, "Refs/EndToEndId")
    return Camt053Detail(
        end_to_end_id="" if end_to_end_id == "NOTPROVIDED" else end_to_end_id,
        instruction_id=_first(texts, "Refs/InstrId"),
        account_servicer_reference=_first(texts, "Refs/AcctSvcrRef"),
        amount=_detail_amount(texts),
        counterparty_name=name,
        counterparty_account=account,
        remittance_information=_remittance(texts),
        return_reason=_first(texts, "RtrInf/Rsn/Cd", "RtrInf/Rsn/Prtry"),
    )


def _counterparty(texts: Texts, indicator: str, is_reversal: bool, own_account: str) -> tuple[str, str]:
    """Return (name, account) of the other side.

    Money that goes out has us as debtor, so the creditor is the other side. A reversal keeps the roles of the payment it
    undoes. Banks that name only one side name the other one; the side with our own account is never it.
    """
    pays = (indicator == "DBIT") != is_reversal
    for name_paths, account_paths in (_CREDITOR, _DEBTOR) if pays else (_DEBTOR, _CREDITOR):
        name, account = _first(texts, *name_paths), _first(texts, *account_paths)
        if (name or account) and account != own_account:
            return name, account
    return "", ""


def _side(side: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    party, account = f"RltdPties/{side}", f"RltdPties/{side}Acct/Id"
    return (f"{party}/Pty/Nm", f"{party}/Nm", f"{party}/Agt/FinInstnId/Nm"), (f"{account}/IBAN", f"{account}/Othr/Id")


_CREDITOR, _DEBTOR = _side("Cdtr"), _side("Dbtr")


def _detail_amount(texts: Texts) -> Money | None:
    for path in ("Amt", "AmtDtls/TxAmt/Amt"):
        if path in texts:
            return _money(texts, path, f"TxDtls/{path}")
    return None


def _remittance(texts: Texts) -> str:
    unstructured, reference = texts.get("RmtInf/Ustrd", ""), texts.get("RmtInf/Strd/CdtrRefInf/Ref", "")
    return f"{unstructured} {reference}".strip()


_DOMAIN = ("BkTxCd/Domn/Cd", "BkTxCd/Domn/Fmly/Cd", "BkTxCd/Domn/Fmly/SubFmlyCd")


def _bank_transaction_code(texts: Texts) -> str:
    domain = [texts[path] for path in _DOMAIN if texts.get(path)]
    return "/".join(domain) or texts.get("BkTxCd/Prtry/Cd", "")


def _money(texts: Texts, path: str, where: str) -> Money:
    """Read an amount exactly. Decimals beyond the currency's exponent must be zeros (the schema allows five)."""
    text = texts.get(path) or _raise_missing(where)
    currency = texts.get(path + "@Ccy") or _raise_missing(where + "@Ccy")
    try:
        exponent = currency_exponent(currency)
    except AmountInvalid as error:
        raise StatementRefused(error.reason, f"{where}: {error.message}", error.message_zh) from None
    match = _AMOUNT.fullmatch(text)
    if match is None:
        raise StatementRefused("AMOUNT_FORMAT", f"{where}: {text[:30]!r} is not an amount", f"{where}：不是金额")
    fraction = (match.group(2) or "").ljust(exponent, "0")
    if fraction[exponent:].strip("0"):
        raise StatementRefused(
            "AMOUNT_DECIMALS",
            f"{where}: {text[:30]} has more decimals than {currency} has ({exponent})",
            f"{where}：{text[:30]} 的小数位超过 {currency} 允许的 {exponent} 位",
        )
    return Money(currency, int(match.group(1) + fraction[:exponent]))


def _same_currency(found: str, wanted: str, what: str) -> None:
    if found != wanted:
        raise StatementRefused(
            "CURRENCY_MIXED",
            f"{what} is in {found} but the statement's account is in {wanted}",
            f"币种 {found} 与账户币种 {wanted} 不一致",
        )


def _indicator(texts: Texts, where: str) -> str:
    indicator = _first(texts, "CdtDbtInd")
    if indicator not in ("CRDT", "DBIT"):
        raise StatementRefused(
            "FIELD_INVALID", f"{where}/CdtDbtInd must be CRDT or DBIT", f"{where}/CdtDbtInd 应为 CRDT 或 DBIT"
        )
    return indicator


def _date(texts: Texts, path: str, where: str) -> str:
    date = (texts.get(path + "/Dt") or texts.get(path + "/DtTm") or "")[:10]
    if date and not _DATE.fullmatch(date):
        raise StatementRefused("FIELD_INVALID", f"{where}: {date!r} is not a date", f"{where}：不是日期")
    return date


def _raise_missing(where: str) -> str:
    raise _missing(where)


def _missing(where: str) -> StatementRefused:
    return StatementRefused("FIELD_MISSING", f"{where} is missing", f"缺少 {where}", metadata={"field": where})


def _first(texts: Texts, *paths: str) -> str:
    for path in paths:
        if found := texts.get(path):
            return found
    return ""

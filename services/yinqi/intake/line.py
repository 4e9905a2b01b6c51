"""What a payment file becomes: lines that may be paid, and lines that are refused with a reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from yinqi.kernel.errors import InvalidRequest
from yinqi.kernel.money import Money


class FileFormat(StrEnum):
    """The formats that are read."""

    CSV = "CSV"
    EXCEL = "EXCEL"
    PAIN_001 = "PAIN.001"


class FileRefused(InvalidRequest):
    """The file as a whole cannot be used; no line of it was taken.

    Reasons: FILE_NOT_FOUND, FILE_EMPTY, FILE_TOO_LARGE, FILE_NOT_WHAT_ITS_NAME_SAYS, FORMAT_UNSUPPORTED,
    FORMAT_VERSION_UNSUPPORTED, ENCODING, MOJIBAKE, COLUMN_MISSING, COLUMN_REPEATED, HEADER_MISSING, NO_LINES, LINES_TOO_MANY,
    QUOTE_UNCLOSED, WORKBOOK_DAMAGED, WORKBOOK_UNSAFE, SHEETS_SEVERAL, TOTALS_MISMATCH, TOTALS_MISSING, XML_ENCODING,
    XML_DOCTYPE, XML_TOO_DEEP, XML_MALFORMED.
    """


@dataclass(frozen=True, slots=True)
class AccountText:
    """An account as the file writes it.

    Attributes:
        identification: IBAN or the bank's own number, without blanks.
        scheme: "IBAN" or "BBAN".
        currency: ISO 4217; "" where the file does not say.
    """

    identification: str
    scheme: str
    currency: str = ""


@dataclass(frozen=True, slots=True)
class AgentText:
    """A bank as the file writes it.

    Attributes:
        clearing_member_id: CNAPS code of 12 digits, or "".
        bicfi: BIC of 8 or 11 characters, or "".
        name: bank and branch, or "".
        other_clearing_member_id: "<system>:<member>" of a clearing system other than CNAPS, e.g. "GBDSC:200415".
    """

    clearing_member_id: str = ""
    bicfi: str = ""
    name: str = ""
    other_clearing_member_id: str = ""


@dataclass(frozen=True, slots=True)
class PaymentLine:
    """One payment of a file, well-formed; the names are those of the API's PaymentInstruction.

    Attributes:
        line: physical line of a CSV or XML file, row of a sheet; from 1.
        where: the place in words for people, e.g. "line 17" or "line 80, /Document/…/CdtTrfTxInf[2]".
        requested_execution_date: ISO 8601 date; "" means at once. Whether it is past is not looked at.
        category_purpose: SUPP, SALA, TAXS, INTC, SWEP, TOPG, ZABA, TREA, or "" (the file does not say).
        channel: SMART, LARGE_VALUE, SMALL_VALUE, INSTANT, or "" (the bank chooses).
    """

    line: int
    where: str
    end_to_end_id: str
    debtor: str
    debtor_account: AccountText
    debtor_agent: AgentText
    creditor: str
    creditor_account: AccountText
    creditor_agent: AgentText
    instructed_amount: Money
    requested_execution_date: str = ""
    category_purpose: str = ""
    purpose: str = ""
    remittance_information: str = ""
    channel: str = ""
    payment_information_id: str = ""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one field.

    Attributes:
        field: path as in the API, e.g. "creditor_agent.clearing_member_id"; "" for the line as a whole.
        reason: stable code, UPPER_SNAKE_CASE.
        message: English: what is wrong. Never holds a name or an account number, so that it may be logged.
        message_zh: the same in Chinese.
        allowed: what is allowed, in both languages.
    """

    field: str
    reason: str
    message: str
    message_zh: str
    allowed: str = ""


@dataclass(frozen=True, slots=True)
class RefusedLine:
    """A line that is not paid; the first fault is in the plain fields, further ones in `more`.

    Attributes:
        line, where: as in PaymentLine.
        end_to_end_id: as the file has it, cut to 35 characters; may be "".
        field, reason, message, message_zh, allowed: as in Fault.
        more: the other faults of the same line, in the order of the fields.
    """

    line: int
    where: str
    end_to_end_id: str
    field: str
    reason: str
    message: str
    message_zh: str
    allowed: str = ""
    more: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True)
class PaymentFile:
    """A file that was read: every payment line of it is either in `lines` or in `refused`.

    Attributes:
        name: as given by the caller.
        format: CSV, EXCEL or PAIN.001.
        message_id: pain.001 MsgId; "" elsewhere.
        lines: ready to be paid, in file order.
        refused: not paid, in file order.
        warned: faults that do not stop a line (only with strict=False); the lines are in `lines`.
        declared_count, declared_sum: totals the file itself states and that were verified, as text; None if it has none.
        sha256: digest of the bytes, hex.
    """

    name: str
    format: FileFormat
    message_id: str
    lines: list[PaymentLine]
    refused: list[RefusedLine]
    warned: list[RefusedLine]
    declared_count: int | None
    declared_sum: str | None
    sha256: str

    @property
    def count(self) -> int:
        """Number of payment lines in the file, good and refused."""
        return len(self.lines) + len(self.refused)


@dataclass(slots=True)
class RawLine:
    """A line as a codec read it, before any rule: texts by field path, and what the codec itself must refuse."""

    line: int
    where: str
    texts: Mapping[str, str]
    faults: list[Fault] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class RawFile:
    """A file as a codec read it."""

    format: FileFormat
    lines: Iterator[RawLine]
    message_id: str = ""
    declared_count: int | None = None
    declared_sum: str | None = None

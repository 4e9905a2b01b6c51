"""What a check of journals found, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class FaultKind(StrEnum):
    """What is wrong with a row or what stands for it."""

    CHANGED = "CHANGED"
    DELETED = "DELETED"
    INSERTED = "INSERTED"
    MISPLACED = "MISPLACED"
    REWRITTEN = "REWRITTEN"
    CHAIN_BROKEN = "CHAIN_BROKEN"
    NOT_SEALED = "NOT_SEALED"
    SEAL_WRONG = "SEAL_WRONG"
    SIGNATURE_WRONG = "SIGNATURE_WRONG"
    KEY_UNKNOWN = "KEY_UNKNOWN"
    RECEIPT_WRONG = "RECEIPT_WRONG"
    CUT = "CUT"
    LINE_WRONG = "LINE_WRONG"
    COPY_WRONG = "COPY_WRONG"


_WORDS: dict[FaultKind, tuple[str, str]] = {
    FaultKind.CHANGED: ("was changed after it was sealed", "封存后被改动"),
    FaultKind.DELETED: ("was sealed and is gone", "已封存，现已不在（被删除）"),
    FaultKind.INSERTED: ("stands among sealed rows but was never sealed", "夹在已封存的行之间，却从未封存（被插入）"),
    FaultKind.MISPLACED: (
        "does not stand where it was sealed: it was moved, repeated or made up",
        "不在封存时的位置（被移动、重复或伪造）",
    ),
    FaultKind.REWRITTEN: (
        "was rewritten together with the chain; the seal kept outside shows another row",
        "连同哈希链一起被改写，与库外封条不符",
    ),
    FaultKind.CHAIN_BROKEN: (
        "does not follow from the row before it: one of the two was rewritten with its digest",
        "与前一行的哈希链断开：两者之一连同摘要被改写",
    ),
    FaultKind.NOT_SEALED: ("claims a place in the chain that no seal covers", "自称在链中，却没有封条"),
    FaultKind.SEAL_WRONG: (
        "is the first of those whose seal does not fit: rows or seals from here on were rewritten or taken out",
        "起的封条不符：自此行起的数据或封条被改写或删除",
    ),
    FaultKind.SIGNATURE_WRONG: (
        "is the first of those whose seal carries a signature that does not fit",
        "起的封条签名无效",
    ),
    FaultKind.KEY_UNKNOWN: (
        "is the first of those whose seal was signed by a key that is not among the public keys given",
        "起的封条由未提供公钥的密钥签名",
    ),
    FaultKind.RECEIPT_WRONG: (
        "or one before it was rewritten: the chain up to it is not the one on the receipt",
        "或其之前的行被改写，与回执不符",
    ),
    FaultKind.CUT: (
        "and all after it were sealed, and the chain ends before them: they or their seals were cut off",
        "及其后的行曾被封存，链却在此之前结束：数据或封条被截去",
    ),
    FaultKind.LINE_WRONG: ("stands on a line that is not as an export writes it", "所在的行不是导出的原样"),
    FaultKind.COPY_WRONG: ("has a seal outside that is not genuine; it was not used", "的库外封条不真实，未采用"),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that shows tampering.

    Attributes:
        journal: "" if it is not about one.
        position: place in the chain, from 1; None for a row that has none.
        sequence: of the row in its table, where it is known.
        place: line of the export, or file and line of a copy.
    """

    kind: FaultKind
    journal: str
    position: int | None
    sequence: int | None
    place: str
    detail: str = ""

    @property
    def words(self) -> str:
        """Say it in English."""
        row = "a row" if self.sequence is None else f"row {self.sequence:,}"
        where = "" if self.position is None else f" (position {self.position:,})"
        detail = f": {self.detail}" if self.detail else ""
        return f"{self.journal or 'export'}: {row}{where} {_WORDS[self.kind][0]}{detail} [{self.place}]"

    @property
    def words_zh(self) -> str:
        """Say it in Chinese."""
        row = "某行" if self.sequence is None else f"第 {self.sequence} 行"
        where = "" if self.position is None else f"（链中第 {self.position} 位）"
        return f"{self.journal or '导出文件'}：{row}{where}{_WORDS[self.kind][1]}"

    def as_dict(self) -> dict[str, Any]:
        """Return it for machines."""
        return {
            "kind": self.kind.value,
            "journal": self.journal,
            "position": self.position,
            "sequence": self.sequence,
            "place": self.place,
            "words": self.words,
            "words_zh": self.words_zh,
        }


@dataclass(slots=True)
class JournalResult:
    """What was found of one journal.

    Attributes:
        rows: that stand in the chain.
        unsealed: newest rows that have no seal yet.
        outside_position: how far the copies outside reach; 0 without any.
        last_seal: when the last seal was made; "" without any.
    """

    journal: str
    rows: int = 0
    unsealed: int = 0
    seals: int = 0
    signatures_checked: int = 0
    outside_position: int = 0
    last_seal: str = ""
    first_bad: Fault | None = None


@dataclass(slots=True)
class Report:
    """What a check found."""

    made_at: str = ""
    services: Sequence[str] = ()
    journals: dict[str, JournalResult] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)  # the first hundred
    fault_count: int = 0
    has_keys: bool = False
    has_copies: bool = False
    receipts_checked: int = 0

    @property
    def is_good(self) -> bool:
        """Nothing shows tampering."""
        return self.fault_count == 0

    @property
    def rows(self) -> int:
        """Sealed rows in all journals."""
        return sum(journal.rows for journal in self.journals.values())

    @property
    def unsealed(self) -> int:
        """Newest rows without a seal in all journals."""
        return sum(journal.unsealed for journal in self.journals.values())

    def not_proved(self) -> list[tuple[str, str]]:
        """Return what this check could not show, in English and Chinese."""
        found = []
        if not self.has_keys:
            found.append(("who sealed the rows: no public key was given", "未提供公钥：封条由谁签名未经验证"))
        if not self.has_copies and not self.receipts_checked:
            found.append(
                (
                    "that nothing was cut off at the end, or rewritten as a whole: no seals from outside the database were given",
                    "未提供库外封条：无法证明末尾未被截去、整体未被改写",
                )
            )
        if self.unsealed:
            found.append((f"{self.unsealed:,} newest rows: they have no seal yet", f"最新 {self.unsealed} 行尚未封存"))
        found.append((f"what was written after {self.made_at}", f"{self.made_at} 之后写入的内容"))
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return it for machines."""
        return {
            "is_good": self.is_good,
            "made_at": self.made_at,
            "services": list(self.services),
            "journals": [
                {
                    "journal": one.journal,
                    "rows": one.rows,
                    "unsealed": one.unsealed,
                    "seals": one.seals,
                    "signatures_checked": one.signatures_checked,
                    "outside_position": one.outside_position,
                    "last_seal": one.last_seal,
                    "first_bad": one.first_bad.as_dict() if one.first_bad else None,
                }
                for one in self.journals.values()
            ],
            "receipts_checked": self.receipts_checked,
            "fault_count": self.fault_count,
            "faults": [fault.as_dict() for fault in self.faults],
            "not_proved": [words for words, _ in self.not_proved()],
        }

"""Checks an export of journals without any service: are the rows those that were sealed (docs/audit.md)?"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yinqi.runtime.journal.chain import Head, Seal, SealMalformed, canonical, microseconds, row_digests, seal_of
from yinqi.runtime.journal.export import VERSION
from yinqi.runtime.journal.findings import Fault, FaultKind, JournalResult, Report
from yinqi.runtime.journal.keys import PublicKey

_FAULTS_KEPT = 100
_RECEIPT_DIGITS_MIN = 32  # of the 64 of a hash
_ENTRY_BYTES = 40


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a printed receipt says: the chain of `journal` up to `position` had a hash that begins so."""

    journal: str
    position: int
    hash_digits: str

    @classmethod
    def of(cls, text: str) -> Receipt:
        """Read "journal:position:hash"; blanks do not count, and the first half of the hash is enough.

        Raises:
            ValueError: says what is needed.
        """
        journal, _, rest = "".join(text.split()).partition(":")
        position, _, digits = rest.replace(",", "").partition(":")
        digits = digits.lower()
        is_hexadecimal = set(digits) <= set("0123456789abcdef")
        if not (journal and position.isdigit() and is_hexadecimal and _RECEIPT_DIGITS_MIN <= len(digits) <= 64):
            raise ValueError("a receipt reads journal:position:hash, with at least 32 digits of the hash")
        return cls(journal, int(position), digits)


class Copies:
    """The seals that were kept outside, by journal; only genuine ones that follow each other are used."""

    def __init__(self, keys: Sequence[PublicKey] = ()) -> None:
        self.faults: list[Fault] = []
        self._keys = keys
        self._seals: dict[str, dict[int, Seal]] = {}
        self._at: dict[str, dict[int, tuple[Seal, int]]] = {}

    @classmethod
    def read(cls, paths: Iterable[Path], keys: Sequence[PublicKey] = ()) -> Copies:
        """Read files of seals, or folders of them.

        Raises:
            OSError: one cannot be read.
        """
        copies = cls(keys)
        for path in paths:
            for file in sorted(path.glob("*.jsonl")) if path.is_dir() else [path]:
                with file.open("rb") as opened:
                    copies.add(file.name, opened)
        return copies

    def add(self, name: str, lines: Iterable[bytes]) -> None:
        """Take in one file's lines; a line that a crash cut short is passed over, its seal comes again."""
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                seal = seal_of(json.loads(line))
            except (ValueError, SealMalformed):
                if not _is_cut(line):
                    self._refuse(Seal("", 0, 0, 0, b"", b"", b"", (), 0, "", ""), name, number, "it cannot be read")
                continue
            reason = self._why_not(seal)
            if reason:
                self._refuse(seal, name, number, reason)
                continue
            self._seals.setdefault(seal.stream, {})[seal.position] = seal
            at = self._at.setdefault(seal.stream, {})
            for index in range(seal.position - seal.first_position + 1):
                at.setdefault(seal.first_position + index, (seal, index))

    def _why_not(self, seal: Seal) -> str:
        if not seal.adds_up():
            return "its rows do not lead to its hash"
        fault = signature_fault(seal, self._keys)
        if fault:
            return "its signature does not fit" if fault is FaultKind.SIGNATURE_WRONG else "its key is not known"
        other = self._seals.get(seal.stream, {}).get(seal.position)
        if other is not None and other.hash != seal.hash:
            return "another copy has another seal there"
        return ""

    def _refuse(self, seal: Seal, name: str, number: int, reason: str) -> None:
        place = f"{name} line {number}"
        first = seal.first_position or None
        sequence = next((s for s, _ in seal.rows()), None)
        self.faults.append(Fault(FaultKind.COPY_WRONG, seal.stream, first, sequence, place, reason))

    def __bool__(self) -> bool:
        return bool(self._seals)

    def journals(self) -> list[str]:
        """Return the journals that have seals outside."""
        return sorted(self._seals)

    def seal_at(self, journal: str, position: int) -> Seal | None:
        """Return the seal that ends there."""
        return self._seals.get(journal, {}).get(position)

    def row(self, journal: str, position: int) -> tuple[int, bytes] | None:
        """Return the sequence and digest of the row that was sealed there."""
        found = self._at.get(journal, {}).get(position)
        if found is None:
            return None
        seal, index = found
        entry = seal.entries[index * _ENTRY_BYTES : (index + 1) * _ENTRY_BYTES]
        return int.from_bytes(entry[:8], "big", signed=True), entry[8:]

    def end(self, journal: str, until_us: int | None = None) -> int:
        """Return the last position sealed, of what was sealed up to an instant."""
        seals = self._seals.get(journal, {}).values()
        return max((s.position for s in seals if until_us is None or s.sealed_at <= until_us), default=0)


def _is_cut(line: bytes) -> bool:
    # Our lines are in canonical form and end with "}": a piece of one does not.
    return not line.rstrip(b"\n").endswith(b"}")


def signature_fault(seal: Seal, keys: Sequence[PublicKey]) -> FaultKind | None:
    """Return what is wrong with a seal's signature; None if it fits, or if no keys were given."""
    if not keys:
        return None
    key = next((one for one in keys if one.key_id == seal.key_id and one.algorithm == seal.algorithm), None)
    if key is None:
        return FaultKind.KEY_UNKNOWN
    return None if key.fits(seal.signed_text(), seal.signature) else FaultKind.SIGNATURE_WRONG


def verify(
    lines: Iterable[bytes],
    *,
    copies: Copies | None = None,
    receipts: Sequence[Receipt] = (),
    keys: Sequence[PublicKey] = (),
    advance: Callable[[int], None] = lambda _bytes: None,
) -> Report:
    """Check an export, line by line.

    Args:
        lines: of the export, each with its newline.
        copies: seals from outside the database; with them rewritten chains and cut tails are found.
        keys: whose signatures count; none: signatures are not looked at.
        advance: told the length of each line.
    """
    check = _Check(copies or Copies(), receipts, keys)
    for line in lines:
        check.take(line)
        advance(len(line))
    return check.finish()


class _Journal:
    """Where the check of one journal stands."""

    def __init__(self, name: str, result: JournalResult) -> None:
        self.result = result
        self.head = Head.start(name)  # after the last row
        self.sealed = self.head  # after the last seal
        self.is_disturbed = False  # a fault since the last seal
        self.has_ended = False


class _Check:
    def __init__(self, copies: Copies, receipts: Sequence[Receipt], keys: Sequence[PublicKey]) -> None:
        self.report = Report(has_keys=bool(keys), has_copies=bool(copies))
        self._copies = copies
        self._keys = keys
        self._receipts = receipts
        self._by_place = {(one.journal, one.position): one for one in receipts}
        self._receipts_met: set[Receipt] = set()
        self._line = 0
        self._current: _Journal | None = None
        self._open: dict[str, _Journal] = {}
        self._made_at_us: int | None = None
        for fault in copies.faults:
            self._keep(fault)

    # --- lines ------------------------------------------------------------------------------------------------------

    def take(self, line: bytes) -> None:
        """Check the next line."""
        self._line += 1
        takers = {
            "export": self._export,
            "journal": self._journal,
            "row": self._row,
            "seal": self._seal,
            "unsealed": self._unsealed,
            "end": self._end,
        }
        try:
            found = json.loads(line)
            if canonical(found) + b"\n" != line:
                raise ValueError("it is not in canonical form")
            if self._line == 1 and found["kind"] != "export":
                raise ValueError("an export begins with another line")
            takers[found["kind"]](found)
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError, struct.error) as error:
            journal = self._current
            detail = str(error) if type(error) is ValueError else "a field is missing or of another kind"
            if journal is None or journal.has_ended:
                self._fault(FaultKind.LINE_WRONG, None, None, detail=detail)
            else:
                self._fault(FaultKind.LINE_WRONG, *self._expected(journal), detail=detail)

    def _export(self, found: dict[str, Any]) -> None:
        if self._line != 1 or found["version"] != VERSION or not all(type(one) is str for one in found["services"]):
            raise ValueError(f"not the head of an export of version {VERSION}")
        self.report.services = found["services"]
        self._made_at_us = microseconds(found["made_at"])
        self.report.made_at = found["made_at"]

    def _journal(self, found: dict[str, Any]) -> None:
        name = found["journal"]
        self._close()
        if name in self._open or name.partition(".")[0] not in self.report.services:
            raise ValueError("a journal that does not belong here, or comes twice")
        result = self.report.journals.setdefault(name, JournalResult(name))
        result.outside_position = self._copies.end(name)
        self._current = self._open[name] = _Journal(name, result)

    def _row(self, found: dict[str, Any]) -> None:
        journal, sequence, row = self._here(), found["sequence"], found["row"]
        if found["position"] is None:
            self._fault(FaultKind.INSERTED, None, sequence)
            return
        position, digest, hash_ = found["position"], bytes.fromhex(found["digest"]), bytes.fromhex(found["hash"])
        if position < journal.head.position + 1:
            self._fault(FaultKind.MISPLACED, position, sequence)
            return
        if position > journal.head.position + 1:
            missing = position - journal.head.position - 1
            detail = f"{missing:,} rows are not here" if missing > 1 else ""
            self._fault(FaultKind.DELETED, *self._expected(journal), detail=detail)
        else:
            after = journal.head.then(sequence, digest)
            kind = self._row_fault(journal, position, sequence, digest, row)
            if kind is None and after.hash != hash_:
                kind = FaultKind.CHAIN_BROKEN
            if kind is not None:
                self._fault(kind, position, sequence)
        # Whatever was wrong, go on from what the line says, so that each fault is told once.
        journal.head = Head(position, sequence, hash_)
        journal.result.rows += 1
        self._compare_receipt(journal)

    def _row_fault(
        self, journal: _Journal, position: int, sequence: int, digest: bytes, row: dict[str, Any] | None
    ) -> FaultKind | None:
        outside = self._copies.row(journal.result.journal, position)
        if row is None:
            return FaultKind.DELETED
        if row.get("sequence") != sequence or row_digests(journal.result.journal, [canonical(row)]) != [digest]:
            return FaultKind.CHANGED
        if outside is not None and outside != (sequence, digest):
            return FaultKind.REWRITTEN
        if journal.head.sequence is not None and sequence <= journal.head.sequence:
            return FaultKind.MISPLACED
        return None

    def _seal(self, found: dict[str, Any]) -> None:
        journal, seal = self._here(), seal_of({k: v for k, v in found.items() if k != "kind"})
        fits = seal.follows(journal.sealed) and seal.head == journal.head and seal.stream == journal.result.journal
        outside = self._copies.seal_at(seal.stream, seal.position)
        if outside is not None and outside.hash != journal.head.hash:
            fits = False
        first = journal.sealed.position + 1
        kind = FaultKind.SEAL_WRONG if not fits and not journal.is_disturbed else None
        kind = kind or signature_fault(seal, self._keys)
        if kind is not None:
            self._fault(kind, first, self._sequence_outside(journal, first))
        journal.sealed = journal.head = seal.head
        journal.is_disturbed = False
        journal.result.seals += 1
        journal.result.last_seal = found["sealed_at"]
        journal.result.signatures_checked += bool(self._keys)

    def _unsealed(self, found: dict[str, Any]) -> None:
        journal, sequence = self._here(), found["sequence"]
        journal.result.unsealed += 1
        if found["row"]["sequence"] != sequence:
            self._fault(FaultKind.LINE_WRONG, None, sequence)
        elif journal.head.sequence is not None and sequence <= journal.head.sequence:
            self._fault(FaultKind.INSERTED, None, sequence)

    def _end(self, found: dict[str, Any]) -> None:
        journal = self._here()
        counted = (journal.result.journal, journal.head.position, journal.result.unsealed)
        if (found["journal"], found["position"], found["unsealed"]) != counted and not journal.is_disturbed:
            self._fault(FaultKind.CUT, *self._expected(journal), detail="the export's own count says so")
        self._close()

    # --- ends -------------------------------------------------------------------------------------------------------

    def _close(self) -> None:
        """End the journal that is open, and look for what is missing behind it."""
        journal = self._current
        if journal is None or journal.has_ended:
            return
        journal.has_ended = True
        if journal.head.position != journal.sealed.position and not journal.is_disturbed:
            first = journal.sealed.position + 1
            self._fault(FaultKind.NOT_SEALED, first, self._sequence_outside(journal, first))
        name, position = journal.result.journal, journal.head.position
        if position < self._copies.end(name, self._made_at_us):
            self._fault(FaultKind.CUT, *self._expected(journal), detail="the seals outside show them")
        elif any(one.journal == name and one.position > position for one in self._receipts):
            self._fault(FaultKind.CUT, *self._expected(journal), detail="a receipt shows them")

    def finish(self) -> Report:
        """Return what was found."""
        if self._current is not None and not self._current.has_ended:
            self._fault(FaultKind.CUT, *self._expected(self._current), detail="the export ends without its last line")
            self._close()
        if self._line == 0:
            self._fault(FaultKind.LINE_WRONG, None, None, detail="the export is empty")
        self._current = None
        self._look_for_missing_journals()
        for receipt in self._receipts:
            self.report.receipts_checked += receipt in self._receipts_met
        return self.report

    def _look_for_missing_journals(self) -> None:
        met = self.report.journals
        for name in self._copies.journals():
            if name not in met and name.partition(".")[0] in self.report.services:
                sequence = (self._copies.row(name, 1) or (None,))[0]
                self._keep(Fault(FaultKind.CUT, name, 1, sequence, "end", "the whole journal is missing"))
        for service in self.report.services:
            if not any(name.partition(".")[0] == service for name in met):
                self._keep(Fault(FaultKind.CUT, service, None, None, "end", "the service has no journal here"))
        for receipt in self._receipts:
            if receipt.journal not in met:
                place = f"receipt {receipt.journal}"
                detail = "its journal is not in this export"
                self._keep(Fault(FaultKind.RECEIPT_WRONG, receipt.journal, receipt.position, None, place, detail))

    def _compare_receipt(self, journal: _Journal) -> None:
        receipt = self._by_place.get((journal.result.journal, journal.head.position))
        if receipt is None:
            return
        self._receipts_met.add(receipt)
        if not journal.head.hash.hex().startswith(receipt.hash_digits):
            self._fault(FaultKind.RECEIPT_WRONG, journal.head.position, journal.head.sequence)

    # --- faults -----------------------------------------------------------------------------------------------------

    def _here(self) -> _Journal:
        if self._current is None or self._current.has_ended:
            raise ValueError("it belongs to no journal")
        return self._current

    def _expected(self, journal: _Journal) -> tuple[int, int | None]:
        """Return the position that comes next, and the sequence that was sealed there, if it is known."""
        position = journal.head.position + 1
        return position, self._sequence_outside(journal, position)

    def _sequence_outside(self, journal: _Journal, position: int) -> int | None:
        found = self._copies.row(journal.result.journal, position)
        return None if found is None else found[0]

    def _fault(self, kind: FaultKind, position: int | None, sequence: int | None, *, detail: str = "") -> None:
        name = ""
        if self._current is not None:
            name, self._current.is_disturbed = self._current.result.journal, True
        self._keep(Fault(kind, name, position, sequence, f"line {self._line:,}", detail))

    def _keep(self, fault: Fault) -> None:
        self.report.fault_count += 1
        if len(self.report.faults) < _FAULTS_KEPT:
            self.report.faults.append(fault)
        result = self.report.journals.get(fault.journal)
        if result is not None and result.first_bad is None:
            result.first_bad = fault

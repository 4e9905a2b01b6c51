"""Malformed files from a seed: real CSV, Excel, pain.001 and camt.053 files, spoilt, read by the readers themselves."""

from __future__ import annotations

import io
import random
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from yinqi.account.camt053 import parse_camt053
from yinqi.account.camt053_mapping import statement_with_entries
from yinqi.intake.handover import to_instruction
from yinqi.intake.reader import read_payment_file
from yinqi.kernel.errors import YinqiError

_ROOT = Path(__file__).parents[2]
_DATA, _VECTORS = _ROOT / "services" / "yinqi" / "demo" / "data", _ROOT / "tests" / "vectors"
_LINES = 6
_ODD = ["", "0", "-1", "1e9", "999999999999999999999", "0.001", "NaN", "\x00", "٣", "深" * 400, "2026-13-45", "CNY", "XXX",
        '"', "'", "<", "&", "&amp;#0;", "]]>", "=1+1", "\u202e", "\ufffd", "A" * 5_000]  # fmt: skip


@dataclass
class Outcome:
    """What became of the files; `crashes` must be empty."""

    counts: Counter[str] = field(default_factory=Counter)
    crashes: list[str] = field(default_factory=list)


@cache
def originals() -> dict[str, list[bytes]]:
    """Return good files by kind, the large ones cut to a few lines."""
    csv = b"\n".join((_DATA / "suppliers-2026-11.csv").read_bytes().splitlines()[:_LINES])
    return {
        "csv": [csv, csv.decode("utf-8-sig").encode("gb18030")],
        "xlsx": [_few_rows((_DATA / "suppliers-2026-11.xlsx").read_bytes())],
        "pain.001": [*_files(_VECTORS / "pain001"), *_files(_DATA / "pain001")],
        "camt.053": [*_files(_VECTORS / "camt053"), *_files(_DATA / "camt053")],
    }


def _files(folder: Path) -> list[bytes]:
    return [data for file in sorted(folder.glob("*.xml")) if len(data := file.read_bytes()) < 30_000]


def _few_rows(data: bytes) -> bytes:
    from openpyxl import load_workbook

    book = load_workbook(io.BytesIO(data))
    for sheet in book.worksheets:
        sheet.delete_rows(_LINES, sheet.max_row)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def _read_payments(data: bytes) -> str:
    file = read_payment_file(data)
    for line in file.lines:
        to_instruction(line).SerializeToString()
    return "lines refused" if file.refused else "read"


def _read_statements(data: bytes) -> str:
    for parsed in parse_camt053(data):
        statement_with_entries(parsed)
    return "read"


_READERS: dict[str, Callable[[bytes], str]] = {
    "csv": _read_payments,
    "xlsx": _read_payments,
    "pain.001": _read_payments,
    "camt.053": _read_statements,
}
_SHARES = {"csv": 35, "xlsx": 10, "pain.001": 30, "camt.053": 25}


def run(count: int, seed: int) -> Outcome:
    """Read `count` malformed files; only typed errors (`YinqiError`) may come."""
    chance = random.Random(seed)
    outcome = Outcome()
    kinds = chance.choices(list(_SHARES), weights=list(_SHARES.values()), k=count)
    for number, kind in enumerate(kinds):
        data = rubbish(kind, chance)
        try:
            outcome.counts[f"{kind} {_READERS[kind](data)}"] += 1
        except YinqiError as refused:
            outcome.counts[f"{kind} {refused.reason}"] += 1
        except Exception as error:  # noqa: BLE001 (that is what is looked for)
            outcome.crashes.append(f"{kind} #{number}, seed {seed}: {type(error).__name__}: {error}"[:300])
    return outcome


def rubbish(kind: str, chance: random.Random) -> bytes:
    """Return one malformed file."""
    good = chance.choice(originals()[kind])
    if chance.random() < 0.02:
        return chance.randbytes(chance.randrange(400))
    if kind == "xlsx" and chance.random() < 0.8:
        return _repacked(good, chance)
    if chance.random() < 0.3:
        return _bent(good, chance)
    spoilt = _spoilt(good, chance)
    return _bent(spoilt, chance) if chance.random() < 0.2 else spoilt


def _repacked(good: bytes, chance: random.Random) -> bytes:
    """Spoil one part inside the package, so that the ZIP itself is sound."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(good)) as package, zipfile.ZipFile(out, "w") as spoilt:
        names = package.namelist()
        victim = chance.choice([*names, *(n for n in names if "sheet" in n or "shared" in n)])
        for name in names:
            data = package.read(name)
            if name != victim:
                spoilt.writestr(name, data)
            elif chance.random() > 0.1:  # else it is missing
                spoilt.writestr(name, _bent(data, chance) if chance.random() < 0.5 else _spoilt(data, chance))
    return out.getvalue()


def _spoilt(data: bytes, chance: random.Random) -> bytes:
    """Replace what stands between two marks (a cell, a text, an attribute) by something odd."""
    marks = [at for at, byte in enumerate(data) if byte in b',;\n<>"']
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(marks) - 1)
        begin, end = marks[at] + 1, marks[at + 1]
        odd = chance.choice(_ODD).encode("utf-8")
        match chance.randrange(4):
            case 0:
                return data[:begin] + data[end:]
            case 1:
                return data[:begin] + data[begin:end] * chance.choice((2, 30)) + data[end:]
            case 2:
                return data[:begin] + b"<x>" * chance.choice((1, 70, 3_000)) + data[begin:]
            case _:
                return data[:begin] + odd + data[end:]
    return data


def _bent(data: bytes, chance: random.Random) -> bytes:
    mutant = bytearray(data)
    for _ in range(chance.randint(0, 4)):
        at = chance.randrange(len(mutant) + 1)
        match chance.randrange(5):
            case 0 if at < len(mutant):
                mutant[at] ^= chance.randrange(1, 256)
            case 1:
                del mutant[at : at + chance.randrange(1, 60)]
            case 2:
                mutant[at:at] = chance.randbytes(chance.randint(1, 20))
            case 3 if chance.random() < 0.3:
                del mutant[at:]
            case _:
                mutant[at:at] = mutant[at : at + 200]
    return bytes(mutant)

"""Evidence on the check digit of CNAPS bank codes (联行号): which rule the published codes keep.

The part reads the list in the test vectors; `python -m tests.evidence.bank_codes FILE` any other, such as the whole public list: every
12 digits that stand alone in the file count as a code, so the CSV can be taken as it is published.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path

from yinqi.crypto import check_bank_card_luhn, check_cnaps

PUBLISHED = Path(__file__).resolve().parents[1] / "vectors" / "identifiers" / "cnaps_codes.txt"
SHOWN = 20
# Groups of banks in the public list, not codes of banks.
_GROUP = re.compile(r"9{10}\d\d")


def bank_codes(short: bool) -> None:
    """Print how many codes keep ISO 7064 MOD 11,10, and Luhn for comparison; AssertionError if one breaks the first."""
    examine(PUBLISHED)


def examine(file: Path) -> None:
    """Do so for the codes of a file."""
    found = re.findall(r"(?<!\d)\d{12}(?!\d)", file.read_text("utf-8"))
    codes = sorted({code for code in found if not _GROUP.fullmatch(code)})
    reasons = check_cnaps(codes)
    broken = [code for code, reason in zip(codes, reasons, strict=True) if reason]
    luhn = check_bank_card_luhn(codes).count("")
    print(f"codes {len(codes):,} of {len({code[:3] for code in codes})} bank prefixes, {file.name}")
    print(f"ISO 7064 MOD 11,10 holds for {len(codes) - len(broken):,}, Luhn for {luhn:,}; by chance one in ten")
    for prefix, count in Counter(code[:3] for code in broken).most_common(SHOWN):
        print(f"  prefix {prefix}: {count} break it, such as {next(code for code in broken if code[:3] == prefix)}")
    assert not broken, f"{len(broken)} published codes break the rule"


if __name__ == "__main__":
    examine(Path(sys.argv[1]) if len(sys.argv) > 1 else PUBLISHED)

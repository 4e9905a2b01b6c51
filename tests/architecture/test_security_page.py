"""What docs/security.md says of OWASP ASVS 5.0.0: no requirement left out, and every file that is said to show something exists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "security.md").read_text("utf-8")

# The level of each requirement, by section: "1.1": "22" says that V1.1.1 and V1.1.2 are of level 2.
# Source: OWASP/ASVS, 5.0/docs_en/OWASP_Application_Security_Verification_Standard_5.0.0_en.csv, columns req_id and L.
LEVELS = {
    "1.1": "22", "1.2": "1111122223", "1.3": "112222222223", "1.4": "222", "1.5": "123",
    "2.1": "122", "2.2": "112", "2.3": "12223", "2.4": "23",
    "3.1": "3", "3.2": "113", "3.3": "12223", "3.4": "11222233", "3.5": "11122333", "3.6": "3", "3.7": "22333",
    "4.1": "12233", "4.2": "23333", "4.3": "22", "4.4": "1222",
    "5.1": "2", "5.2": "112333", "5.3": "113", "5.4": "222",
    "6.1": "122", "6.2": "111111112222", "6.3": "11223333", "6.4": "112233", "6.5": "22222333", "6.6": "2223",
    "6.7": "33", "6.8": "2222",
    "7.1": "222", "7.2": "1111", "7.3": "22", "7.4": "11222", "7.5": "223", "7.6": "22",
    "8.1": "1233", "8.2": "1123", "8.3": "133", "8.4": "23",
    "9.1": "111", "9.2": "1222",
    "10.1": "22", "10.2": "223", "10.3": "22223", "10.4": "1111122222233333", "10.5": "22222", "10.6": "22", "10.7": "222",
    "11.1": "2233", "11.2": "22233", "11.3": "11233", "11.4": "1222", "11.5": "23", "11.6": "23", "11.7": "33",
    "12.1": "12233", "12.2": "11", "12.3": "22223",
    "13.1": "2333", "13.2": "222223", "13.3": "2233", "13.4": "1222233",
    "14.1": "22", "14.2": "12223333", "14.3": "122",
    "15.1": "12233", "15.2": "12233", "15.3": "1222222", "15.4": "3333",
    "16.1": "2", "16.2": "22222", "16.3": "2222", "16.4": "222", "16.5": "2223",
    "17.1": "23", "17.2": "22223333", "17.3": "22",
}  # fmt: skip
WHOLE = {"9", "10", "11", "16"}  # chapters of which level 3 is wanted too
ROW = re.compile(
    r"^\| V(\d+\.\d+)\.(\d+)(?:-(\d+))? \| (.+?) \| \*\*(met|partly|not met|n/a)\*\*(.*?) \| (.+?) \|$", re.MULTILINE
)


def named() -> Iterator[str]:
    """Yield every requirement that a row is about, in the order of the page."""
    for section, first, last, *_ in ROW.findall(TEXT):
        yield from (f"{section}.{number}" for number in range(int(first), int(last or first) + 1))


def wanted() -> list[str]:
    return [
        f"{section}.{number}"
        for section, levels in LEVELS.items()
        for number, level in enumerate(levels, 1)
        if level < "3" or section.partition(".")[0] in WHOLE
    ]


def test_every_requirement_of_levels_1_and_2_and_of_3_where_it_is_promised_has_its_row() -> None:
    assert list(named()) == wanted()
    assert len(ROW.findall(TEXT)) == len(re.findall(r"^\| V\d", TEXT, re.MULTILINE))


def test_what_is_met_is_shown_by_something_and_what_is_not_says_why() -> None:
    for section, first, _, _, verdict, why, shown in ROW.findall(TEXT):
        assert verdict != "met" or shown != "–", f"V{section}.{first}"
        assert verdict == "met" or why.startswith((":", ",")), f"V{section}.{first}"


def test_every_file_that_is_said_to_show_something_exists() -> None:
    """Also those of the tables of threats."""
    found = re.findall(r"`((?:tests|docs|services|\.ci)/[^`\s]+|pyproject\.toml)`", TEXT)
    assert len(found) > 150
    assert not sorted({path for path in found if not (ROOT / path).exists()})

"""The documented column names are the ones that are read."""

from __future__ import annotations

from pathlib import Path

from yinqi.intake import columns, line

README = (Path(columns.__file__).parent / "README.md").read_text(encoding="utf-8")


def test_the_readme_names_both_documented_columns_of_every_field():
    for chinese, english, *_ in columns.COLUMNS.values():
        assert f"| {chinese} | `{english}` |" in README


def test_the_readme_says_which_columns_are_needed():
    for field in columns.NEEDED:
        chinese, english, *_ = columns.COLUMNS[field]
        assert f"| {chinese} | `{english}` | needed |" in README


def test_no_name_means_two_fields():
    names = [columns._plain(name) for accepted in columns.COLUMNS.values() for name in {*map(columns._plain, accepted)}]
    assert len(names) == len(set(names))


def test_every_reason_to_refuse_a_file_is_listed_with_its_error():
    folder = Path(columns.__file__).parent
    source = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.py"))
    for reason in _reasons(source):
        assert reason in (line.FileRefused.__doc__ or ""), reason


def _reasons(source: str) -> set[str]:
    return {part.split('"')[1] for part in source.split("FileRefused(")[1:] if part.lstrip().startswith('"')}

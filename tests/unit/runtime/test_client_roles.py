"""The file that says what client certificates may do."""

from __future__ import annotations

from pathlib import Path

import pytest

from yinqi.runtime.client_roles import ClientsFileInvalid, load_client_roles


def test_roles_are_read_by_client(tmp_path: Path) -> None:
    file = tmp_path / "clients.toml"
    file.write_text('[[client]]\nname = "erp"\nroles = ["a", "b"]\n\n[[client]]\nname = "payroll"\nroles = []\n')
    assert load_client_roles(file) == {"erp": frozenset({"a", "b"}), "payroll": frozenset()}


def test_without_a_file_nobody_may_anything(tmp_path: Path) -> None:
    assert load_client_roles(tmp_path / "clients.toml") == {}


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("?", "cannot be read"),
        ('client = "erp"', "tables alone"),
        ("[[clients]]\n", "tables alone"),
        ('[[client]]\nname = "erp"', "exactly name and roles"),
        ('[[client]]\nname = "erp"\nroles = ["a"]\nall_roles = true', "exactly name and roles"),
        ('[[client]]\nname = ""\nroles = ["a"]', "name must be"),
        ('[[client]]\nname = "erp"\nroles = "a"', "list of role names"),
        ('[[client]]\nname = "erp"\nroles = ["a"]\n[[client]]\nname = "erp"\nroles = ["b"]', "there twice"),
        ('[[client]]\nname = "erp"\nroles = ["a", "service/payment"]', "for certificates of services alone"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, word: str) -> None:
    file = tmp_path / "clients.toml"
    file.write_text(text)
    with pytest.raises(ClientsFileInvalid, match=word):
        load_client_roles(file)

"""Profiles are checked when the gateway starts, with errors that say where and what."""

from __future__ import annotations

from pathlib import Path

import pytest

from yinqi import gateway as gateway_package
from yinqi.gateway.profile import ProfileInvalid, load_profiles

SHIPPED = (Path(gateway_package.__file__).parent / "profiles" / "demo_bank.toml").read_text("utf-8")
PLACEHOLDERS = {"sandbox_bank_address": "127.0.0.1:7106", "exchange_dir": "/x", "keys_dir": "/k"}


def load(folder: Path, text: str = SHIPPED, accounts: str = "") -> object:
    (folder / "demo_bank.toml").write_text(text, "utf-8")
    if accounts:
        (folder / "gateway").mkdir(exist_ok=True)
        (folder / "gateway" / "accounts.toml").write_text(accounts, "utf-8")
    return load_profiles(folder, {**PLACEHOLDERS, "var_dir": str(folder)})


def test_the_shipped_profile_is_good_and_its_placeholders_are_filled(tmp_path: Path) -> None:
    (profile,) = load(tmp_path)  # type: ignore[misc]
    assert profile.url == "http://127.0.0.1:7106/cdc"
    assert profile.keys.exchange_directory == "/x"
    assert profile.batch.lines_max == 1_000


def test_an_accounts_file_adds_accounts_and_may_repeat_one(tmp_path: Path) -> None:
    more = (
        '[[accounts]]\nidentification = "DE02120300000000202051"\ncurrency = "EUR"\nname = "New"\n'
        '[[accounts]]\nidentification = "755915678910001"\ncurrency = "CNY"\nname = "Renamed"\n'
    )
    profiles = load(tmp_path, accounts=more)
    accounts = {a.identification: a for a in profiles.accounts()}  # type: ignore[attr-defined]
    assert len(accounts) == 7
    assert accounts["DE02120300000000202051"].profile == "demo_bank"
    assert accounts["755915678910001"].name == "Renamed"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('dialect = "cdc"', 'dialect = "nc"', "dialect"),
        ('"http://{sandbox_bank_address}/cdc"', '"ftp://x"', "url"),
        ('user_id = "U123456789"', 'user_id = "toolongtoolongtoolong"', "user_id"),
        ("lines_max = 1000", "lines_max = 5000", "batch.lines_max"),
        ("submit = 50", "submit = 0", "concurrency.submit"),
        ("page_size", "pagesize", "batch.pagesize"),
        ('WRF = "UNKNOWN"', 'WRF = "NOT_FOUND"', "WRF"),
        ('WRF = "UNKNOWN"', '"" = "REJECTED"', "silence is never an answer"),
        ('"FIN/S" = "SETTLED"', "", "no payment could ever succeed"),
        ('SMART = "I"', "", "SMART missing"),
        ('CNY = "10"', 'CNY = "35"', "share a code"),
        ('EUR = "35"', "", "EUR"),
        ("safe_window_ms = 30000", "safe_window_ms = 0", "safe_window_ms"),
        ("[keys]", "[keyz]", "keys"),
        ('currency = "EUR"', 'currency = "EUX"', "currency"),
        ("[batch]", "[batch", "not TOML"),
        ('"{keys_dir}"', '"{key_dir}"', "{key_dir} is not known"),
        ("http://{sandbox_bank_address}/cdc", "http://bank host/cdc", "url"),
    ],
)
def test_a_wrong_profile_names_the_field(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in SHIPPED
    with pytest.raises(ProfileInvalid, match=r"demo_bank\.toml") as caught:
        load(tmp_path, SHIPPED.replace(old, new, 1))
    assert says in caught.value.message


def test_no_account_number_is_quoted_in_an_error(tmp_path: Path) -> None:
    with pytest.raises(ProfileInvalid) as caught:
        load(tmp_path, SHIPPED.replace("755915678910001", "7559156789*0001"))
    assert "7559156789" not in caught.value.message


def test_an_account_belongs_to_one_profile(tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text(SHIPPED.replace('name = "demo_bank"', 'name = "other"', 1), "utf-8")
    with pytest.raises(ProfileInvalid, match="listed twice"):
        load(tmp_path)


def test_a_folder_without_profiles_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ProfileInvalid, match="YINQI_GATEWAY_PROFILES_DIR"):
        load_profiles(tmp_path, {})

"""Profiles are checked when the gateway starts, with errors that say where and what."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from yinqi import gateway as gateway_package
from yinqi.gateway.calendar import load_calendar
from yinqi.gateway.profile import ProfileInvalid, load_profile, load_profiles
from yinqi.gateway.profile_checks import oddities

SHIPPED = (Path(gateway_package.__file__).parent / "profiles" / "demo_bank.toml").read_text("utf-8")
PLACEHOLDERS = {"sandbox_bank_address": "127.0.0.1:7106", "exchange_dir": "/x", "keys_dir": "/k"}

FILLED = {**PLACEHOLDERS, "var_dir": "/v"}
CALENDARS = Path(gateway_package.__file__).parent / "calendars"


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


STRICT = Path(gateway_package.__file__).parent / "profiles" / "examples" / "strict_bank.toml"


def test_two_banks_differ_in_every_rule(tmp_path: Path) -> None:
    demo = load_profile(Path(gateway_package.__file__).parent / "profiles" / "demo_bank.toml", FILLED)
    strict = load_profile(STRICT, FILLED)
    for name in ("batch", "concurrency", "timeouts", "in_doubt", "texts", "channels", "smart_route", "channel_rules"):
        assert getattr(demo, name) != getattr(strict, name), name
    for name in (
        "encoding",
        "amount_digits_max",
        "crypto",
        "notices",
        "calendar",
        "closed",
        "status",
        "currency_codes",
    ):
        assert getattr(demo, name) != getattr(strict, name), name


def test_every_fault_of_every_file_is_named_by_its_line(tmp_path: Path) -> None:
    lines = SHIPPED.splitlines()
    broken = SHIPPED.replace("lines_max = 1000", "lines_max = 5000").replace('WRF = "UNKNOWN"', 'WRF = "PERHAPS"')
    broken = broken.replace('CNY = "10"', 'CNY = "35"').replace('"FIN/S" = "SETTLED"', "")
    (tmp_path / "demo_bank.toml").write_text(broken, "utf-8")
    (tmp_path / "other.toml").write_text(STRICT.read_text("utf-8").replace("cut_off = 17:15:00", "cut_off = 08:00:00"))
    with pytest.raises(ProfileInvalid) as caught:
        load_profiles(tmp_path, FILLED)
    words = [violation.description for violation in caught.value.violations]
    for text in ("lines_max = 1000", 'WRF = "UNKNOWN"', 'EUR = "35"'):
        assert any(word.startswith(f"line {lines.index(text) + 1}, ") for word in words), (text, words)
    assert any("no payment could ever succeed" in word for word in words)
    assert any("channel_rules.LARGE_VALUE.cut_off" in word for word in words)
    assert "other.toml" in caught.value.message


def test_what_is_odd_is_said_but_stops_nothing(tmp_path: Path) -> None:
    text = SHIPPED.replace("safe_window_ms = 30000", "safe_window_ms = 20000")
    (profile,) = load(tmp_path, text)  # type: ignore[misc]
    calendar = load_calendar(CALENDARS, "cn")
    fields = {one.field: one.words for one in oddities(profile, calendar, dt.date(2026, 11, 22))}
    assert "shorter than the time-out" in fields["in_doubt.safe_window_ms"]
    assert "2027" in fields["calendar.name"]
    assert "calendar.name" not in {one.field for one in oddities(profile, calendar, dt.date(2026, 3, 1))}

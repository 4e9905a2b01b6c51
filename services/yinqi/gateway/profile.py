"""Bank profiles: everything in which banks differ, as data in TOML files, checked when the service starts."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from yinqi.gateway.model import BankAccount, Channel
from yinqi.gateway.status import MAPPABLE, BankStatus, StatusMap
from yinqi.kernel.errors import FailedPrecondition, FieldViolation
from yinqi.kernel.money import CURRENCIES

_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
_Positive = Annotated[int, Field(ge=1)]


class ProfileInvalid(FailedPrecondition):
    """A profile file is wrong; the message names the file, the field and what is allowed. Fix it and start again."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AccountEntry(_Part):
    """An account that the bank lets us use."""

    identification: Annotated[str, Field(pattern=r"^[0-9A-Za-z-]{1,35}$")]
    currency: str
    name: Annotated[str, Field(min_length=1, max_length=140)]

    @field_validator("currency")
    @classmethod
    def _known_currency(cls, value: str) -> str:
        if value not in CURRENCIES:
            raise ValueError("is not an ISO 4217 code")
        return value


class Batch(_Part):
    """Sizes the bank allows: lines of a submission, references of a query, accounts of a balance call, page of a list."""

    lines_max: Annotated[int, Field(ge=1, le=1_000)] = 1_000
    references_max: Annotated[int, Field(ge=2)] = 500
    balances_max: _Positive = 30
    page_size: _Positive = 200
    pages_max: _Positive = 100


class Concurrency(_Part):
    """Calls at a time per class, and how many may wait for their turn in each."""

    submit: _Positive = 50
    query: _Positive = 12
    other: _Positive = 8
    waiting_max: Annotated[int, Field(ge=0)] = 200


class Timeouts(_Part):
    """Milliseconds: for each step of getting the request out (connection, header, body), and for a whole call."""

    connect_ms: _Positive = 2_000
    submit_ms: _Positive = 30_000
    query_ms: _Positive = 20_000
    other_ms: _Positive = 20_000


class InDoubt(_Part):
    """The bank's rules for payments nobody can speak of yet.

    Attributes:
        first_query_delay_ms, query_interval_ms: the bank's advice; the payment service paces its queries by it.
        safe_window_ms: how long after the last send an empty answer counts.
        duplicate_window_months: how long the bank remembers a reference.
        query_days_max: longest range of one query.
    """

    first_query_delay_ms: Annotated[int, Field(ge=0)] = 300_000
    query_interval_ms: Annotated[int, Field(ge=0)] = 2_000
    safe_window_ms: Annotated[int, Field(ge=1_000)] = 30_000
    duplicate_window_months: _Positive = 13
    query_days_max: Annotated[int, Field(ge=2)] = 100


class TextLimit(_Part):
    """Longest text of a field, in characters and in bytes of the profile's encoding."""

    chars_max: _Positive
    bytes_max: _Positive | None = None


class Keys(_Part):
    """Where keys lie; `{user_id}` and the settings' folders are filled in.

    Attributes:
        directory: ours, only for us. exchange_directory: where the bank and we leave files for each other.
        signing_key_file, sm4_key_file, password_file: in `directory`. The others: in `exchange_directory`.
    """

    directory: str
    exchange_directory: str
    signing_key_file: str = "{user_id}.signing_key.pem"
    password_file: str = "{user_id}.password"  # noqa: S105 (a file's name)
    sm4_key_file: str = "{user_id}.sm4_key.hex"
    public_key_export: str = "{user_id}.public_key.hex"
    sm4_key_export: str = "{user_id}.sm4_key.hex"
    bank_public_key_file: str = "bank_public_key.hex"


class Profile(_Part):
    """One bank as this company reaches it.

    Attributes:
        status: the bank's state codes; see `StatusMap`. Only what is listed here can ever settle or reject a payment.
        line_refusals: a submitted line's error codes that are final, each with our or an ISO 20022 reason code.
        message_refusals: result codes of a whole submission of which the bank says that nothing was recorded.
        reason_codes: the bank's error codes → our or ISO 20022 reason codes, for texts only.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,30}$")]
    dialect: Literal["cdc"]
    url: Annotated[str, Field(pattern=r"^https?://[0-9A-Za-z.:\[\]-]+(/[!-~]*)?$")]
    user_id: Annotated[str, Field(pattern=r"^[0-9A-Za-z]{1,16}$")]
    encoding: Literal["gb18030", "gbk", "gb2312", "utf-8"] = "gb18030"
    accounts_file: str = ""
    amount_digits_max: Annotated[int, Field(ge=3, le=18)] = 15
    keys: Keys
    batch: Batch = Batch()
    concurrency: Concurrency = Concurrency()
    timeouts: Timeouts = Timeouts()
    in_doubt: InDoubt = InDoubt()
    texts: Mapping[str, TextLimit] = Field(default_factory=dict)
    channels: Mapping[Channel, str]
    channel_caps_minor_units: Mapping[Channel, _Positive] = Field(default_factory=dict)
    currency_codes: Mapping[str, str]
    status: Mapping[str, BankStatus]
    line_refusals: Mapping[str, str] = Field(default_factory=dict)
    message_refusals: Mapping[str, str] = Field(default_factory=dict)
    reason_codes: Mapping[str, str] = Field(default_factory=dict)
    accounts: tuple[AccountEntry, ...] = ()

    @field_validator("status")
    @classmethod
    def _safe_status_map(cls, value: Mapping[str, BankStatus]) -> Mapping[str, BankStatus]:
        for code, status in value.items():
            if not code or code.startswith("/"):
                raise ValueError("an empty code cannot be listed: silence is never an answer")
            if status not in MAPPABLE:
                raise ValueError(f"{code} → {status}: allowed are {', '.join(sorted(MAPPABLE))}")
        if BankStatus.SETTLED not in value.values():
            raise ValueError("no code means SETTLED, so no payment could ever succeed")
        return value

    @field_validator("currency_codes")
    @classmethod
    def _currency_codes_are_distinct(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        unknown = sorted(set(value) - CURRENCIES)
        if unknown:
            raise ValueError(f"not ISO 4217: {', '.join(unknown)}")
        if len(set(value.values())) != len(value):
            raise ValueError("two currencies share a code")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Profile:
        missing = sorted(set(Channel) - set(self.channels))
        if missing:
            raise ValueError(f"channels: {', '.join(missing)} missing")
        strange = sorted({account.currency for account in self.accounts} - set(self.currency_codes))
        if strange:
            raise ValueError(f"accounts use currencies without a code in currency_codes: {', '.join(strange)}")
        return self

    @property
    def status_map(self) -> StatusMap:
        """The table of the bank's state codes."""
        return StatusMap(self.status)

    @property
    def last_byte_ms(self) -> int:
        """How long after its record in the registry the last byte of a submission may leave, at most."""
        # The commit of that record, waiting for the pool, connecting, writing header and body: each within this limit.
        return 5 * self.timeouts.connect_ms

    def timeout_ms(self, call_class: str) -> int:
        """Return the deadline of a whole call of a class ("submit", "query" or "other")."""
        return int(getattr(self.timeouts, f"{call_class}_ms"))


class Profiles:
    """All profiles, and which one reaches an account."""

    def __init__(self, profiles: Sequence[Profile]) -> None:
        self._by_name = {profile.name: profile for profile in profiles}
        self._accounts: dict[str, BankAccount] = {}
        if len(self._by_name) != len(profiles):
            raise ProfileInvalid("PROFILE_INVALID", "Two bank profiles have the same name.", "银行配置重名。")
        for profile in profiles:
            for entry in profile.accounts:
                if entry.identification in self._accounts:
                    raise ProfileInvalid(
                        "PROFILE_INVALID",
                        f"Profile {profile.name}: an account is listed twice (…{entry.identification[-4:]}); "
                        "each account belongs to one profile.",
                        f"银行配置 {profile.name}：账号重复（尾号 {entry.identification[-4:]}）。",
                    )
                self._accounts[entry.identification] = BankAccount(
                    entry.identification, entry.currency, entry.name, profile.name
                )

    def __iter__(self) -> Iterator[Profile]:
        return iter(self._by_name.values())

    def account(self, identification: str) -> BankAccount | None:
        """Return the account, or None if no profile reaches it."""
        return self._accounts.get(identification)

    def profile(self, name: str) -> Profile:
        """Return the profile of that name."""
        return self._by_name[name]

    def accounts(self) -> list[BankAccount]:
        """Return all accounts, by identification."""
        return [self._accounts[key] for key in sorted(self._accounts)]


def load_profiles(directory: Path, placeholders: Mapping[str, str]) -> Profiles:
    """Read every `*.toml` of a directory.

    Args:
        placeholders: values for `{name}` in the files' texts, e.g. var_dir, sandbox_bank_address.
    Raises:
        ProfileInvalid: names every wrong field of the first wrong file, or says that there is no file.
    """
    files = sorted(directory.glob("*.toml"))
    if not files:
        raise ProfileInvalid(
            "PROFILE_MISSING",
            f"There is no bank profile (*.toml) in {directory}. Put one there, or set YINQI_GATEWAY_PROFILES_DIR.",
            f"{directory} 中没有银行配置（*.toml）。",
        )
    return Profiles([load_profile(file, placeholders) for file in files])


def load_profile(file: Path, placeholders: Mapping[str, str]) -> Profile:
    """Read one profile and its accounts file, if that exists.

    Raises:
        ProfileInvalid: names every wrong field of the file.
    """
    tree = _fill(_read(file), placeholders, file)
    if isinstance(tree.get("accounts_file"), str) and tree["accounts_file"]:
        more = Path(tree["accounts_file"])
        if more.exists():
            tree["accounts"] = _merged(tree.get("accounts", []), _read(more).get("accounts", []))
    try:
        return Profile.model_validate(tree)
    except ValidationError as error:
        raise _invalid(file, error) from None


def _merged(listed: Any, added: Any) -> Any:
    """Return both lists of accounts; one that is in both counts as the accounts file says."""
    if not all(isinstance(entry, dict) for entries in (listed, added) for entry in entries):
        return added  # The validation that follows says what is wrong with it.
    again = {entry.get("identification") for entry in added}
    return [*(entry for entry in listed if entry.get("identification") not in again), *added]


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        problem = error.strerror or type(error).__name__
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problem = f"not TOML in UTF-8: {error}"
    raise ProfileInvalid("PROFILE_INVALID", f"{file}: {problem}", f"{file} 无法读取。")


def _fill(value: Any, placeholders: Mapping[str, str], file: Path) -> Any:
    if isinstance(value, str):
        unknown = {found[1] for found in _PLACEHOLDER.finditer(value)} - {"user_id", *placeholders}
        if unknown:
            raise ProfileInvalid(
                "PROFILE_INVALID",
                f"{file}: {{{min(unknown)}}} is not known; allowed are {', '.join(sorted(placeholders))}, user_id.",
                f"{file} 中的占位符 {{{min(unknown)}}} 未知。",
            )
        return _PLACEHOLDER.sub(lambda found: placeholders.get(found[1], found[0]), value)
    if isinstance(value, dict):
        return {key: _fill(item, placeholders, file) for key, item in value.items()}
    return [_fill(item, placeholders, file) for item in value] if isinstance(value, list) else value


def _invalid(file: Path, error: ValidationError) -> ProfileInvalid:
    violations = [
        FieldViolation(".".join(str(part) for part in problem["loc"]) or "(file)", "INVALID", problem["msg"])
        for problem in error.errors(include_input=False)  # an input may be an account
    ]
    lines = "; ".join(f"{violation.field}: {violation.description}" for violation in violations)
    return ProfileInvalid(
        "PROFILE_INVALID", f"Bank profile {file} is wrong: {lines}", f"银行配置 {file} 有误。", violations
    )

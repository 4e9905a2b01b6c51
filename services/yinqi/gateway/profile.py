"""Bank profiles: everything in which banks differ, as data in TOML files, checked when the service starts."""

from __future__ import annotations

import copy
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, time
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from yinqi.gateway.calendar import BusinessCalendar
from yinqi.gateway.model import BankAccount, BatchKind, Channel
from yinqi.gateway.profile_checks import contradictions
from yinqi.gateway.status import BankStatus, StatusMap
from yinqi.gateway.toml_lines import TomlLines
from yinqi.kernel.errors import FailedPrecondition, FieldViolation
from yinqi.kernel.money import CURRENCIES

_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
_Positive = Annotated[int, Field(ge=1)]


class ProfileInvalid(FailedPrecondition):
    """A profile is wrong; the message names file, line, field and what is allowed. Fix it and start again."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AccountEntry(_Part):
    """An account that the bank lets us use. `company`: whose turn its calls count for; empty: the account's name."""

    identification: Annotated[str, Field(pattern=r"^[0-9A-Za-z-]{1,35}$")]
    currency: str
    name: Annotated[str, Field(min_length=1, max_length=140)]
    company: Annotated[str, Field(max_length=140)] = ""

    @field_validator("currency")
    @classmethod
    def _known_currency(cls, value: str) -> str:
        if value not in CURRENCIES:
            raise ValueError("is not an ISO 4217 code")
        return value


class Batch(_Part):
    """Sizes the bank allows: lines of a submission, references of a query, accounts of a balance call,
    payments of a call for receipts, page of a list.

    Attributes:
        bytes_max: of one submission's signed message, before it is sealed.
        messages_max: how many messages one batch may be spread over (续传); 1: the bank knows no continuation.
        kinds: functions the bank has for salaries and taxes, with the bank's business codes; without one such
            lines go as ordinary batches, but never in one message with others.
    """

    lines_max: Annotated[int, Field(ge=1, le=1_000)] = 1_000
    bytes_max: Annotated[int, Field(ge=4_096, le=4_194_304)] = 2_097_152
    messages_max: Annotated[int, Field(ge=1, le=1_000)] = 1
    kinds: Mapping[BatchKind, str] = Field(default_factory=dict)
    references_max: Annotated[int, Field(ge=2)] = 500
    balances_max: _Positive = 30
    receipts_max: _Positive = 100
    page_size: _Positive = 200
    pages_max: _Positive = 100


class Concurrency(_Part):
    """Calls at a time per class, of all replicas together, and how many may wait for their turn in each.

    Attributes:
        submit: payments. payroll: salaries and taxes where the bank has a function for them. query: status of payments.
        statement: balances, entries, returns. other: the rest (rights).
    """

    submit: _Positive = 50
    payroll: _Positive = 20
    query: _Positive = 12
    statement: _Positive = 6
    other: _Positive = 2
    waiting_max: Annotated[int, Field(ge=0, le=10_000)] = 200


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
        duplicate_window_months: how long the bank remembers a reference. Our own registry forgets none.
        reference_reuse: whether the bank takes a reference again after a final refusal.
        query_days_max: longest range of one query.
    """

    first_query_delay_ms: Annotated[int, Field(ge=0)] = 300_000
    query_interval_ms: Annotated[int, Field(ge=0)] = 2_000
    safe_window_ms: Annotated[int, Field(ge=1_000)] = 30_000
    duplicate_window_months: _Positive = 13
    reference_reuse: Literal["never", "after_final_refusal"] = "after_final_refusal"
    query_days_max: Annotated[int, Field(ge=2)] = 100


class TextLimit(_Part):
    """Longest text of a field, in characters and in bytes of the profile's encoding."""

    chars_max: _Positive
    bytes_max: _Positive | None = None


class SigningDevice(_Part):
    """A device that holds our signing key in place of the key file.

    Attributes:
        kind: "sdf": GM/T 0018. vendor_library: in the file `library`; by its path, and it must know where its device is.
        key_index: number of the SM2 signing key. pin_file: in `directory` of the keys; `{user_id}` is filled in.
        timeout_ms: the longest wait for one signature, and at the start.
    """

    kind: Literal["sdf"] = "sdf"
    vendor_library: Annotated[str, Field(min_length=1, alias="library")]
    key_index: Annotated[int, Field(ge=1, le=65_535)]
    pin_file: str = "{user_id}.pin"
    timeout_ms: Annotated[int, Field(ge=1, le=60_000)] = 5_000

    @field_validator("kind", mode="before")
    @classmethod
    def _signs_with_sm2(cls, value: Any) -> Any:
        if value == "pkcs11":
            raise ValueError('PKCS#11 has no SM2, with which this bank\'s messages are signed; "sdf" is allowed')
        return value


class Keys(_Part):
    """Where keys lie; `{user_id}` and the settings' folders are filled in.

    Attributes:
        directory: ours, only for us. exchange_directory: where the bank and we leave files for each other.
        signing_key_file, sm4_key_file, password_file: in `directory`. The others: in `exchange_directory`.
        device: where it is given, it signs, and neither signing_key_file nor password_file is looked at.
    """

    directory: str
    exchange_directory: str
    signing_key_file: str = "{user_id}.signing_key.pem"
    password_file: str = "{user_id}.password"  # noqa: S105 (a file's name)
    sm4_key_file: str = "{user_id}.sm4_key.hex"
    public_key_export: str = "{user_id}.public_key.hex"
    sm4_key_export: str = "{user_id}.sm4_key.hex"
    bank_public_key_file: str = "bank_public_key.hex"
    device: SigningDevice | None = None


class WeeklyWindow(_Part):
    """A part of the week, bank time; ISO weekdays, the end not included. It may run over the week's end."""

    from_weekday: Annotated[int, Field(ge=1, le=7)]
    from_time: time
    to_weekday: Annotated[int, Field(ge=1, le=7)]
    to_time: time


class ChannelRule(_Part):
    """What a channel carries and when, bank time; without a rule: anything, always.

    Attributes:
        amount_min_minor_units, amount_max_minor_units: of payments in `currency`.
        cap_lifted: when the upper limit does not hold.
        days: whether it rests on weekends and holidays. opens, cut_off: of each such day; no cut-off: till midnight.
    """

    currency: Literal["CNY"] = "CNY"
    amount_min_minor_units: _Positive = 1
    amount_max_minor_units: _Positive | None = None
    cap_lifted: WeeklyWindow | None = None
    days: Literal["every_day", "business_days"] = "every_day"
    opens: time = time(0)
    cut_off: time | None = None


class Closure(_Part):
    """Hours of each day in which the bank takes no payments at all (the day-cut), within one day."""

    begins: time
    ends: time


class Calendar(_Part):
    """Whose holidays, and in what the bank differs from them."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,30}$")] = "cn"
    make_up_days_are_business_days: bool = True
    extra_holidays: tuple[date, ...] = ()
    extra_business_days: tuple[date, ...] = ()


class Crypto(_Part):
    """How messages are signed and sealed.

    Attributes:
        suite: "sm": SM2 with SM3, SM4-CBC; the only one that the dialect `cdc` has here.
        signature_window_s: how far an answer's signing time may be from ours.
    """

    suite: Literal["sm"] = "sm"
    signature_window_s: Annotated[int, Field(ge=1, le=86_400)] = 3_600


class Notices(_Part):
    """What the bank tells by itself (通知). Nothing listens unless a profile asks for it.

    Attributes:
        path: where this bank posts, below the gateway's notice port.
        identity: SM2 identity of notices; empty: as of answers (some banks sign notices with a default one).
        types: notice types whose content counts; others are acknowledged and archived, and change nothing.
        bytes_max: a longer body is refused unread.
    """

    enabled: bool = False
    path: Annotated[str, Field(pattern=r"^/[0-9a-z/_-]{1,63}$")] = "/notices/cdc"
    identity: Annotated[str, Field(pattern=r"^[!-~]{0,64}$")] = ""
    types: tuple[str, ...] = ("YQN02030",)
    bytes_max: Annotated[int, Field(ge=1_024, le=4_194_304)] = 4_194_304


class Profile(_Part):
    """One bank as this company reaches it.

    Attributes:
        status: the bank's state codes; see `StatusMap`. Only what is listed here can ever settle or reject a payment.
        line_refusals: a submitted line's error codes that are final, each with our or an ISO 20022 reason code.
        message_refusals: result codes of a whole submission of which the bank says that nothing was recorded.
        reason_codes: the bank's error codes → our or ISO 20022 reason codes, for texts only.
        smart_route: what SMART tries, in this order; empty: the bank chooses, and `channels` has a code for it.
        sandbox: no money moves there; keys that this project has published may be used.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,30}$")]
    dialect: Literal["cdc"]
    url: Annotated[str, Field(pattern=r"^https?://[0-9A-Za-z.:\[\]-]+(/[!-~]*)?$")]
    user_id: Annotated[str, Field(pattern=r"^[0-9A-Za-z]{1,16}$")]
    encoding: Literal["gb18030", "gbk", "gb2312", "utf-8"] = "gb18030"
    accounts_file: str = ""
    sandbox: bool = False
    amount_digits_max: Annotated[int, Field(ge=3, le=18)] = 15
    keys: Keys
    batch: Batch = Batch()
    concurrency: Concurrency = Concurrency()
    timeouts: Timeouts = Timeouts()
    in_doubt: InDoubt = InDoubt()
    crypto: Crypto = Crypto()
    notices: Notices = Notices()
    calendar: Calendar = Calendar()
    closed: tuple[Closure, ...] = ()
    texts: Mapping[str, TextLimit] = Field(default_factory=dict)
    channels: Mapping[Channel, str]
    smart_route: tuple[Channel, ...] = ()
    channel_rules: Mapping[Channel, ChannelRule] = Field(default_factory=dict)
    currency_codes: Mapping[str, str]
    status: Mapping[str, BankStatus]
    line_refusals: Mapping[str, str] = Field(default_factory=dict)
    message_refusals: Mapping[str, str] = Field(default_factory=dict)
    reason_codes: Mapping[str, str] = Field(default_factory=dict)
    accounts: tuple[AccountEntry, ...] = ()

    @property
    def status_map(self) -> StatusMap:
        """The table of the bank's state codes."""
        return StatusMap(self.status)

    @property
    def last_byte_ms(self) -> int:
        """How long after its record in the registry the last byte of a submission may leave, at most."""
        # The commit of that record, waiting for the pool, connecting, writing header and body: each within this limit.
        return 5 * self.timeouts.connect_ms

    def business_days(self, country: BusinessCalendar) -> BusinessCalendar:
        """Return the country's calendar as this bank keeps it."""
        return country.adapted(
            make_up_days=self.calendar.make_up_days_are_business_days,
            extra_holidays=self.calendar.extra_holidays,
            extra_business_days=self.calendar.extra_business_days,
        )

    def rule_of(self, channel: Channel) -> ChannelRule:
        """Return the channel's limits and hours; the bank's own smart route has none here."""
        return self.channel_rules.get(channel, ChannelRule())

    def timeout_ms(self, call_class: str) -> int:
        """Return the deadline of a whole call of a concurrency class."""
        name = {"payroll": "submit", "statement": "other"}.get(call_class, call_class)
        return int(getattr(self.timeouts, f"{name}_ms"))


class Profiles:
    """All profiles, and which one reaches an account."""

    def __init__(self, profiles: Sequence[Profile]) -> None:
        self._by_name = {profile.name: profile for profile in profiles}
        self._accounts: dict[str, BankAccount] = {}
        if len(self._by_name) != len(profiles):
            raise ProfileInvalid("PROFILE_INVALID", "Two bank profiles have the same name.", "银行配置重名。")
        paths = [profile.notices.path for profile in profiles if profile.notices.enabled]
        if len(set(paths)) != len(paths):
            raise ProfileInvalid(
                "PROFILE_INVALID", "Two bank profiles have the same notices.path.", "银行配置的通知路径重复。"
            )
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
                    entry.identification, entry.currency, entry.name, profile.name, entry.company or entry.name
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
        ProfileInvalid: names every wrong field of every file, or says that there is no file.
    """
    files = sorted(directory.glob("*.toml"))
    if not files:
        raise ProfileInvalid(
            "PROFILE_MISSING",
            f"There is no bank profile (*.toml) in {directory}. Put one there, or set YINQI_GATEWAY_PROFILES_DIR.",
            f"{directory} 中没有银行配置（*.toml）。",
        )
    profiles: list[Profile] = []
    wrong: list[ProfileInvalid] = []
    for file in files:
        try:
            profiles.append(load_profile(file, placeholders))
        except ProfileInvalid as error:
            wrong.append(error)
    if wrong:
        raise ProfileInvalid(
            "PROFILE_INVALID",
            " ".join(error.message for error in wrong),
            "".join(error.message_zh for error in wrong),
            [violation for error in wrong for violation in error.violations],
        )
    return Profiles(profiles)


def load_profile(file: Path, placeholders: Mapping[str, str]) -> Profile:
    """Read one profile and its accounts file, if that exists.

    Raises:
        ProfileInvalid: names every wrong field of the file, with its line.
    """
    text = _text(file)
    tree = _fill(_parse(file, text), placeholders, file)
    if isinstance(tree.get("accounts_file"), str) and tree["accounts_file"]:
        more = Path(tree["accounts_file"])
        if more.exists():
            tree["accounts"] = _merged(tree.get("accounts", []), _parse(more, _text(more)).get("accounts", []))
    profile, violations = examine(tree)
    if violations or profile is None:
        raise _invalid(file, violations, TomlLines(text))
    return profile


def examine(tree: Mapping[str, Any]) -> tuple[Profile | None, list[FieldViolation]]:
    """Return the profile, if every field by itself is right, and all that is wrong with it.

    What fields have to do with each other is looked at even if some field is wrong, as far as the others allow.
    """
    try:
        profile = Profile.model_validate(tree)
        return profile, contradictions(profile)
    except ValidationError as error:
        problems = error.errors(include_input=False)  # an input may be an account
    violations = [
        FieldViolation(".".join(map(str, problem["loc"])) or "(file)", "INVALID", problem["msg"])
        for problem in problems
    ]
    try:
        rest = Profile.model_validate(_without(tree, [problem["loc"] for problem in problems]))
    except ValidationError:
        return None, violations
    named = {violation.field for violation in violations}
    return None, violations + [one for one in contradictions(rest) if one.field not in named]


def _without(tree: Mapping[str, Any], locations: Sequence[tuple[int | str, ...]]) -> Mapping[str, Any]:
    """Return the tree without the given fields."""
    pruned: dict[str, Any] = copy.deepcopy(dict(tree))
    for location in sorted(locations, key=len, reverse=True):
        parent: Any = pruned
        for part in location[:-1]:
            parent = parent[part] if isinstance(parent, dict) and part in parent else None
        if isinstance(parent, dict):
            parent.pop(location[-1], None)
    return pruned


def _merged(listed: Any, added: Any) -> Any:
    """Return both lists of accounts; one that is in both counts as the accounts file says."""
    if not all(isinstance(entry, dict) for entries in (listed, added) for entry in entries):
        return added  # The validation that follows says what is wrong with it.
    again = {entry.get("identification") for entry in added}
    return [*(entry for entry in listed if entry.get("identification") not in again), *added]


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except OSError as error:
        problem = error.strerror or type(error).__name__
    except UnicodeDecodeError as error:
        problem = f"not UTF-8: {error}"
    raise ProfileInvalid("PROFILE_INVALID", f"{file}: {problem}", f"{file} 无法读取。")


def _parse(file: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ProfileInvalid("PROFILE_INVALID", f"{file}: not TOML: {error}", f"{file} 不是有效的 TOML。") from None


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


def _invalid(file: Path, violations: Sequence[FieldViolation], lines: TomlLines) -> ProfileInvalid:
    found = sorted(((lines.line_of(one.field.split(".")), one) for one in violations), key=lambda pair: pair[0])
    placed = [
        FieldViolation(one.field, one.reason, f"line {line}, {one.field}: {one.description}", one.description_zh)
        for line, one in found
    ]
    words = "; ".join(one.description for one in placed)
    return ProfileInvalid(
        "PROFILE_INVALID",
        f"Bank profile {file} is wrong: {words}.",
        f"银行配置 {file} 有 {len(placed)} 处错误。",
        placed,
    )

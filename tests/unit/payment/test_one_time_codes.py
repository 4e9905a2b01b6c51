"""One-time codes: those of RFC 6238, each good once, and few tries."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from yinqi.payment.code_secrets import CodeSecrets, CodeSecretsInvalid, enrolment_uri
from yinqi.payment.one_time_codes import LOCKED_FOR, STEP_S, WRONG_MAX, CodeState, code_at, judge_code

SECRET = b"12345678901234567890"
NOW = datetime(2026, 11, 22, 4, 0, 7, tzinfo=UTC)
STEP = int(NOW.timestamp()) // STEP_S


# RFC 6238, appendix B, the rows of SHA-1.
@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (59, "94287082"),
        (1111111109, "07081804"),
        (1111111111, "14050471"),
        (1234567890, "89005924"),
        (2000000000, "69279037"),
        (20000000000, "65353130"),
    ],
)
def test_the_codes_are_those_of_the_standard(seconds: int, expected: str) -> None:
    assert code_at(SECRET, seconds // STEP_S, digits=8) == expected
    assert code_at(SECRET, seconds // STEP_S) == expected[-6:]


@pytest.mark.parametrize(("away", "is_accepted"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)])
def test_a_device_may_be_off_by_one_step(away: int, is_accepted: bool) -> None:
    assert (judge_code(code_at(SECRET, STEP + away), SECRET, CodeState(), NOW).reason == "") is is_accepted


def test_a_code_and_all_before_it_are_good_once() -> None:
    state = judge_code(code_at(SECRET, STEP), SECRET, CodeState(), NOW).state
    for step in (STEP, STEP - 1):
        assert judge_code(code_at(SECRET, step), SECRET, state, NOW).reason == "ONE_TIME_CODE_USED"
    assert judge_code(code_at(SECRET, STEP + 1), SECRET, state, NOW).reason == ""


def test_wrong_codes_end_in_a_pause_in_which_the_right_one_helps_nobody() -> None:
    state, right = CodeState(), code_at(SECRET, STEP)
    wrong = f"{(int(right) + 500_000) % 1_000_000:06}"
    for _ in range(WRONG_MAX):
        state, reason = judge_code(wrong, SECRET, state, NOW)
        assert reason == "ONE_TIME_CODE_WRONG"
    assert judge_code(right, SECRET, state, NOW).reason == "ONE_TIME_CODE_LOCKED"
    later = NOW + LOCKED_FOR
    assert judge_code(code_at(SECRET, int(later.timestamp()) // STEP_S), SECRET, state, later).reason == ""


@pytest.mark.parametrize("code", ["", "1", "１２３４５６", "abcdef", "1234567", "\x00" * 6])
def test_what_is_no_code_is_wrong(code: str) -> None:
    assert judge_code(code, SECRET, CodeState(), NOW).reason == "ONE_TIME_CODE_WRONG"


def test_a_right_code_clears_the_wrong_ones_before() -> None:
    state = CodeState(wrong=WRONG_MAX - 1)
    assert judge_code(code_at(SECRET, STEP), SECRET, state, NOW).state == CodeState(last_step=STEP)
    assert judge_code("x", SECRET, CodeState(locked_until=NOW - timedelta(seconds=1)), NOW).state.wrong == 1


def test_secrets_are_sealed_and_open_to_their_owner_only(tmp_path: Path) -> None:
    file, key = tmp_path / "codes.sealed", tmp_path / "codes.key"
    codes = CodeSecrets(file, key)
    assert codes.secret_of("li") is None
    secret = codes.enrol("li", lambda n: b"\x07" * n)
    codes.enrol("wang", lambda n: b"\x08" * n)
    assert codes.secret_of("li") == secret
    assert codes.secret_of("sun") is None
    assert b"li" not in file.read_bytes()
    assert [stat.S_IMODE(one.stat().st_mode) for one in (file, key)] == [0o600, 0o600]
    assert enrolment_uri("li", "银企", secret).endswith(
        "?secret=A4DQOBYHA4DQOBYHA4DQOBYHA4DQOBYH&issuer=%E9%93%B6%E4%BC%81&algorithm=SHA1&digits=6&period=30"
    )


def test_a_bent_file_or_an_open_key_is_refused_in_words(tmp_path: Path) -> None:
    file, key = tmp_path / "codes.sealed", tmp_path / "codes.key"
    codes = CodeSecrets(file, key)
    codes.enrol("li", lambda n: b"\x07" * n)
    whole = file.read_bytes()
    for at in range(0, len(whole), 9):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(CodeSecretsInvalid, match="was changed"):
            codes.secret_of("li")
    file.write_bytes(whole)
    key.chmod(0o644)
    with pytest.raises(CodeSecretsInvalid, match="chmod 600"):
        codes.secret_of("li")

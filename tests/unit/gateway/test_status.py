"""Only a listed word settles or rejects a payment."""

from __future__ import annotations

import pytest

from yinqi.gateway.profile import Profile
from yinqi.gateway.status import FINAL, BankStatus


@pytest.mark.parametrize(
    ("state", "result", "status", "reason"),
    [
        ("AUT", "", "PROCESSING", ""),
        ("NTE", "", "PROCESSING", ""),
        ("OPR", "", "PROCESSING", ""),
        ("BNK", "F", "PROCESSING", ""),  # the result means nothing before FIN
        ("APW", "", "PROCESSING", ""),
        ("WRF", "", "UNKNOWN", "SUSPICIOUS"),
        ("WRF", "F", "UNKNOWN", "SUSPICIOUS"),
        ("FIN", "S", "SETTLED", ""),
        ("FIN", "F", "REJECTED", ""),
        ("FIN", "B", "RETURNED", ""),
        ("FIN", "R", "REJECTED", ""),
        ("FIN", "D", "REJECTED", ""),
        ("FIN", "C", "REJECTED", ""),
        ("FIN", "U", "UNKNOWN", "SUSPICIOUS"),
        ("FIN", "", "UNKNOWN", "RESULT_UNLISTED"),
        ("FIN", "M", "UNKNOWN", "RESULT_UNLISTED"),
        ("", "", "UNKNOWN", "STATE_MISSING"),
        ("", "F", "UNKNOWN", "STATE_MISSING"),
        ("95", "", "PROCESSING", "STATE_UNLISTED"),
        ("fin", "F", "PROCESSING", "STATE_UNLISTED"),
    ],
)
def test_the_table_of_the_demo_bank(profile: Profile, state: str, result: str, status: str, reason: str) -> None:
    assert profile.status_map.read(state, result) == (BankStatus(status), reason)


def test_no_unlisted_pair_is_final(profile: Profile) -> None:
    listed = set(profile.status)
    for state in ("", "FIN", "WRF", "BNK", "XXX"):
        for result in ("", "S", "F", "B", "R", "D", "C", "U", "M", "V", "T", "X"):
            status, _ = profile.status_map.read(state, result)
            assert status not in FINAL or f"{state}/{result}" in listed

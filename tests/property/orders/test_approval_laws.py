"""Whatever people and thieves do, a line goes exactly when its quorum is there (the long form: `tests.evidence approvals`)."""

from __future__ import annotations

from approving import run


def test_no_line_goes_without_its_quorum_and_none_is_held_with_it() -> None:
    counts = run(examples=60, steps=25, derandomize=True)
    assert counts["asked"] > 10
    assert counts["passed"], "the machine must get somewhere"

"""A call that the network delivers twice: what the first delivery called NOT_SENT the second does not send.

Seed 1195 found it (stories have changed since): the gateway's disk was full, so the first delivery of SubmitPayments
ended with NOT_SENT; the operator cancelled the payment; the second delivery sent it.
"""

from __future__ import annotations

import pytest
from tests.simulation.planted import PLANTED

from yinqi.simulation.checks import Violation
from yinqi.simulation.story import Order, Step, Story
from yinqi.simulation.world import Outcome, run_story

ORDER = Order(1, 0, 100_371)


def told(fault: Step, seed: int) -> Outcome:
    steps = (
        Step(1, 1.0, "message", "payment>gateway", "duplicate"),
        Step(2, 1.0, "pay", orders=(ORDER,)),
        fault,
        Step(9, 1.5, "cancel", orders=(ORDER,)),
        *(
            Step(10 + n, 4.0 + 2 * n, "message", "account>gateway", "delay", 0.1) for n in range(10)
        ),  # moments to look at
    )
    return run_story(Story(seed, 24, steps), is_told=True)


CLOSED_BANK = [Step(3, 1.0, "close_bank", seconds=1.0)]
FULL_DISK = [Step(3, at_s, "commit", "gateway", "FULL") for at_s in (1.05, 1.075)]  # when the claim may be under way


@pytest.mark.parametrize("faults", [CLOSED_BANK, FULL_DISK], ids=["closed bank", "full disk"])
def test_a_second_delivery_does_not_send_what_the_first_did_not(
    faults: list[Step], monkeypatch: pytest.MonkeyPatch
) -> None:
    def violations() -> list[Violation]:
        outcomes = (told(fault, seed) for fault in faults for seed in range(1, 9))
        return [outcome.violation for outcome in outcomes if outcome.violation]

    assert violations() == []
    PLANTED["what_was_called_not_sent_may_still_be_sent"](monkeypatch)
    assert {violation.invariant for violation in violations()} == {"the status is true"}

"""What a service asks its store is answered from an index, however much has been stored."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from yinqi.simulation import store
from yinqi.simulation.story import story_of
from yinqi.simulation.world import run_story

SERVICES = ("payment", "account", "reconciliation", "monitoring", "gateway")
# What is asked of everything: the daily check that the ledger's balances are the sums of its postings, the accounts, the
# stops in force, the few data keys.
OF_ALL = {
    "SCAN data_keys",
    "SCAN ledger_balances",
    "SCAN ledger_postings USING INDEX ledger_postings_by_day",
    "SCAN accounts",
    "SCAN gateway_stops USING INDEX gateway_stops_in_force",
}


@pytest.fixture(scope="module")
def asked() -> dict[str, dict[str, str]]:
    """Return per service an example of each statement that it ran in some stories."""
    found: dict[str, dict[str, str]] = {service: {} for service in SERVICES}
    connections = {service: store._raw(service) for service in SERVICES}
    for service, connection in connections.items():
        connection.set_trace_callback(_note_in(found[service]))
    try:
        for seed in range(1, 41):
            run_story(story_of(seed))
    finally:
        for connection in connections.values():
            connection.set_trace_callback(None)
    return found


def _note_in(found: dict[str, str]) -> Callable[[str], None]:
    def note(statement: str) -> None:
        # The services' begin a line with FROM or WHERE; the judges of a story ask in one line, and for everything.
        if re.match(r"(SELECT|UPDATE|DELETE|WITH)\b", statement) and re.search(r"\n ?(FROM|WHERE)|^UPDATE", statement):
            shape = re.sub(r"x'[0-9A-F]*'|'(?:[^']|'')*'|\b\d+\b", "?", statement)
            found.setdefault(re.sub(r"\?(, ?\?)+", "?", shape), statement)

    return note


@pytest.mark.parametrize("service", SERVICES)
def test_no_statement_of_a_service_reads_a_whole_table(asked: dict[str, dict[str, str]], service: str) -> None:
    assert asked[service]
    for shape, statement in asked[service].items():
        plan = [row[3] for row in store._raw(service).execute(f"EXPLAIN QUERY PLAN {statement}")]
        scans = {step for step in plan if re.match(r"SCAN (?!json_each|CONSTANT|\()", step)}
        assert not {step for step in scans if not any(step.startswith(known) for known in OF_ALL)}, shape

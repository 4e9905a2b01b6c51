"""Whatever is thrown at the bank's doors, it answers and its book stays sound."""

from __future__ import annotations

import contextlib
import random
import socket
from pathlib import Path

import pytest

from .conftest import BankThread
from .door_storm import blow
from .wire_client import WireClient


@pytest.mark.parametrize("seed", [1, 2])
def test_malformed_messages_never_crash_the_bank(tmp_path: Path, seed: int) -> None:
    said, report = blow(1_200, seed, tmp_path)
    assert len(said) > 20  # Many different refusals were reached, and some messages were taken.
    assert sum(count for what, count in said.items() if what.endswith("SUC0000")) > 50
    unsound = {name for name, count in report["integrity"].items() if count}
    assert unsound <= {"debited_without_payment"}  # That one is the fault double_debit of a loaded script.


def test_rubbish_on_the_socket_and_at_the_control_api_is_no_internal_error(
    bank: BankThread, client: WireClient
) -> None:
    lots = random.Random(3)
    for n in range(150):
        with socket.create_connection(("127.0.0.1", bank.port), timeout=20) as connection:
            head = lots.choice(
                [b"", b"POST /cdc HTTP/1.1\r\nHost: x\r\nContent-Length: 80\r\n\r\n", b"GET / HTTP/1.1\r\n"]
            )
            connection.sendall(head + lots.randbytes(lots.randrange(200)))
            connection.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionError):
                assert b" 500 " not in connection.recv(4_096).partition(b"\r\n")[0]
        path = lots.choice(["clock", "script", "accounts", "entries", "permissions", "notices"])
        content = lots.choice(
            [lots.randbytes(50), b"{}", b"[]", b'{"account": 1, "amount": "1.00", "kind": "fee"}', b"null"]
        )
        status = bank.http.post(f"/control/{path}", content=content).status_code
        assert status in (200, 400), (n, path, content)
    assert bank.http.get("/control/faults?limit=-1").status_code == 400
    assert client.call("DCLISACC", {})["dclisaccz1"]

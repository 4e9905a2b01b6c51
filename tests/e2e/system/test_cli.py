"""The `yinqi` command against a running suite: what a clerk types, what comes back, and the exit codes."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from yinqi.demo.suite import DATA
from yinqi.runtime.listening import free_port

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]
NAMES = ("payment", "account", "reconciliation", "monitoring", "gateway", "sandbox_bank", "console")
ACCOUNT = "755915678910001"
README = Path(__file__).parents[3] / "README.md"


class Terminal:
    """Runs commands as a person would, in one environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {name: free_port() for name in NAMES}
        self.env = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("YINQI_", "OTEL_"))},  # noqa: TID251
            "YINQI_VAR_DIR": str(folder / "var"),
            "COLUMNS": "200",
            **{f"YINQI_{name.upper()}_PORT": str(port) for name, port in self.ports.items()},
        }

    def run(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "yinqi.cli", *words],
            env={**self.env, **env},
            capture_output=True,
            text=True,
            timeout=120,
        )


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    """A terminal beside a suite that `yinqi up` keeps running."""
    terminal = Terminal(tmp_path_factory.mktemp("cli"))
    log = terminal.folder / "up.log"
    with log.open("wb") as output:
        up = subprocess.Popen(
            [sys.executable, "-m", "yinqi.cli", "up"], env=terminal.env, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + 120
        while "three things to try" not in log.read_text("utf-8"):
            assert up.poll() is None, log.read_text("utf-8")
            assert time.monotonic() < deadline, log.read_text("utf-8")
            time.sleep(0.2)
        yield terminal
    finally:
        up.send_signal(signal.SIGINT)
        assert up.wait(60) == 0
        assert "stopped" in log.read_text("utf-8")


def test_up_says_where_everything_is(terminal: Terminal) -> None:
    text = (terminal.folder / "up.log").read_text("utf-8")
    assert f"http://127.0.0.1:{terminal.ports['console']}/" in text
    for service in ("payment", "account", "reconciliation", "monitoring", "gateway"):
        assert f"127.0.0.1:{terminal.ports[service]}" in text


def test_the_python_example_of_the_readme_pays_over_mutual_tls(terminal: Terminal) -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```$", README.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert "127.0.0.1:7101" in block
    source = block.replace("127.0.0.1:7101", f"127.0.0.1:{terminal.ports['payment']}")
    done = subprocess.run(
        [sys.executable, "-c", source],
        cwd=terminal.folder,
        env=terminal.env,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_nobody_gets_in_without_a_certificate(terminal: Terminal) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{terminal.ports['payment']}") as channel:
        health = health_pb2_grpc.HealthStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            health.Check(health_pb2.HealthCheckRequest(), timeout=30)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_certificates_can_be_renewed_while_everything_runs(terminal: Terminal) -> None:
    assert terminal.run("certs", "create", "--renew").returncode == 0
    assert terminal.run("certs", "show").returncode == 0
    done = terminal.run("payments", "list")
    assert done.returncode == 0, done.stderr


def test_doctor_finds_a_running_suite_well(terminal: Terminal) -> None:
    done = terminal.run("doctor")
    assert done.returncode == 0, done.stdout
    assert "all is well" in done.stdout


def test_doctor_says_what_is_wrong_when_nothing_runs(terminal: Terminal, tmp_path: Path) -> None:
    ports = {f"YINQI_{name.upper()}_PORT": str(free_port()) for name in NAMES}
    done = terminal.run("doctor", YINQI_VAR_DIR=str(tmp_path), **ports)
    assert done.returncode == 1
    assert "yinqi up" in done.stdout


def test_a_supplier_list_is_paid_line_by_line_and_again_without_harm(terminal: Terminal) -> None:
    first = terminal.run("pay", str(DATA / "suppliers-2026-11.csv"), "--json")
    assert first.returncode == 3
    report = json.loads(first.stdout[first.stdout.index("{") :])
    assert (report["recorded"] + report["already_recorded"], len(report["refused"])) == (
        390,
        10,
    )  # another test may be first
    again = json.loads(
        (done := terminal.run("pay", str(DATA / "suppliers-2026-11.csv"), "--json")).stdout[done.stdout.index("{") :]
    )
    assert (again["recorded"], again["already_recorded"]) == (0, 390)
    assert terminal.run("payments", "watch", "--until-final").returncode == 0


def test_a_payment_shows_its_story(terminal: Terminal) -> None:
    terminal.run("pay", str(DATA / "suppliers-2026-11.csv"))
    terminal.run("payments", "watch", "--until-final")
    shown = terminal.run("payments", "show", "SUP-202611-A-0001")
    assert shown.returncode == 0
    for word in ("payment.received", "payment.submitting", "payment.settled", "付款成功", "trace"):
        assert word in shown.stdout
    listed = terminal.run("payments", "list", "--status", "settled", "--limit", "5")
    assert "SETTLED" in listed.stdout
    cancelled = terminal.run("payments", "cancel", "SUP-202611-A-0001")
    assert cancelled.returncode == 1
    assert "released" in cancelled.stderr or "SETTLED" in cancelled.stderr


def test_an_unknown_payment_and_a_wrong_status_are_words(terminal: Terminal) -> None:
    missing = terminal.run("payments", "show", "NO-SUCH-ID")
    assert missing.returncode == 1
    assert "NOT_FOUND" in missing.stderr
    wrong = terminal.run("payments", "list", "--status", "PAID")
    assert wrong.returncode == 2
    assert "SETTLED" in wrong.stderr


def test_the_day_is_fetched_reconciled_and_adds_up(terminal: Terminal) -> None:
    terminal.run("pay", str(DATA / "suppliers-2026-11.csv"))
    terminal.run("payments", "watch", "--until-final")
    fetched = terminal.run("statement", "fetch", ACCOUNT)
    # One more where the example of the README has paid before.
    assert re.search(r"\b39[01] entries", fetched.stdout), fetched.stdout + fetched.stderr
    reconciled = terminal.run("reconcile", ACCOUNT)
    assert reconciled.returncode == 0, reconciled.stdout
    assert "余额调节表" in reconciled.stdout
    assert re.search(r"\b39[01] matched", reconciled.stdout)
    assert terminal.run("breaks", "list").returncode == 0
    assert terminal.run("alerts", "list", "--all").returncode == 0


def test_a_camt_file_is_imported_once(terminal: Terminal) -> None:
    file = next((DATA / "camt053").glob("*.xml"))
    assert terminal.run("statement", "import", str(file)).returncode == 0
    assert " 0 " in terminal.run("statement", "import", str(file)).stdout


def test_a_file_that_is_not_what_its_name_says_is_refused_with_words(terminal: Terminal, tmp_path: Path) -> None:
    fake = tmp_path / "list.xlsx"
    fake.write_text("not a workbook", "utf-8")
    done = terminal.run("pay", str(fake))
    assert done.returncode == 4
    assert "FILE_NOT_WHAT_ITS_NAME_SAYS" in done.stderr
    assert terminal.run("pay", str(tmp_path / "absent.csv")).returncode == 4


def test_a_port_in_use_names_the_port_and_what_to_do(terminal: Terminal, tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        ports = {f"YINQI_{name.upper()}_PORT": str(free_port()) for name in NAMES}
        done = terminal.run("up", **{**ports, "YINQI_VAR_DIR": str(tmp_path), "YINQI_ACCOUNT_PORT": str(port)})
    assert done.returncode != 0
    assert str(port) in done.stderr
    assert "account" in done.stderr


def test_a_wrong_setting_is_named(terminal: Terminal) -> None:
    done = terminal.run("payments", "list", YINQI_PAYMENT_PORT="many")
    assert done.returncode != 0
    assert "YINQI_PAYMENT_PORT" in done.stderr


def test_a_service_that_is_away_is_said_in_words(terminal: Terminal) -> None:
    done = terminal.run("payments", "list", YINQI_PAYMENT_PORT=str(free_port()), YINQI_CALL_TIMEOUT_S="1")
    assert done.returncode == 5
    assert "yinqi up" in done.stderr


def test_schemas_can_be_migrated_by_hand(terminal: Terminal, tmp_path: Path) -> None:
    done = terminal.run("migrate", YINQI_VAR_DIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "payment: empty" in done.stdout
    again = terminal.run("migrate", "payment", YINQI_VAR_DIR=str(tmp_path)).stdout
    assert re.search(r"payment: (\S+) → \1$", again, re.MULTILINE), again

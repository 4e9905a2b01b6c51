"""The `yinqi` command (命令行)."""

from __future__ import annotations

import typer

from yinqi.cli import _before_grpc as _before_grpc  # first: see there
from yinqi.cli import (
    alerts,
    approve,
    audit,
    bank,
    certs,
    data_at_rest,
    doubts,
    keys,
    payments,
    policy,
    reconciliation,
    statement,
    stop,
)
from yinqi.cli.doctor import doctor
from yinqi.cli.evidence import evidence
from yinqi.cli.pay import pay
from yinqi.cli.simulate import simulate
from yinqi.cli.suite import demo, migrate, sandbox_bank, serve, up

app = typer.Typer(
    help="yinqi 银企: bank-enterprise direct connect (银企直联).",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # Locals hold account numbers.
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo")(demo)
app.command("up")(up)
app.command("serve")(serve)
app.command(
    "sandbox-bank",
    add_help_option=False,  # The bank has a help of its own.
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)(sandbox_bank)
app.command("migrate")(migrate)
app.command("pay")(pay)
app.add_typer(payments.app, name="payments")
app.add_typer(doubts.app, name="doubts")
app.add_typer(approve.app, name="approve")
app.add_typer(policy.app, name="policy")
app.add_typer(keys.app, name="keys")
app.add_typer(statement.app, name="statement")
app.command("reconcile")(reconciliation.reconcile)
app.add_typer(reconciliation.app, name="breaks")
app.add_typer(alerts.app, name="alerts")
app.add_typer(bank.app, name="bank")
app.add_typer(stop.app, name="stop")
app.add_typer(audit.app, name="audit")
app.add_typer(certs.app, name="certs")
app.add_typer(data_at_rest.app, name="data")
app.command("evidence")(evidence)
app.command("doctor")(doctor)
app.command("simulate")(simulate)

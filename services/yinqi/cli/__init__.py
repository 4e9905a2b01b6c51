"""The `yinqi` command (命令行)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Any, cast

import typer
from typer.core import TyperGroup
from typer.main import get_command, get_group

from yinqi.cli import _before_grpc as _before_grpc  # first: see there

# Where each command is: a group, or a function.
_PLACES = {
    "demo": "suite:demo",
    "up": "suite:up",
    "serve": "suite:serve",
    "sandbox-bank": "suite:sandbox_bank",
    "migrate": "suite:migrate",
    "pay": "pay:pay",
    "payments": "payments:app",
    "doubts": "doubts:app",
    "approve": "approve:app",
    "policy": "policy:app",
    "keys": "keys:app",
    "statement": "statement:app",
    "reconcile": "reconciliation:reconcile",
    "breaks": "reconciliation:app",
    "alerts": "alerts:app",
    "bank": "bank:app",
    "stop": "stop:app",
    "audit": "audit:app",
    "certs": "certs:app",
    "data": "data_at_rest:app",
    "evidence": "evidence:evidence",
    "doctor": "doctor:doctor",
    "simulate": "simulate:simulate",
}
_OPTIONS: dict[str, dict[str, Any]] = {
    "sandbox-bank": {
        "add_help_option": False,  # The bank has a help of its own.
        "context_settings": {"allow_extra_args": True, "ignore_unknown_options": True},
    }
}


@cache
def _command(name: str) -> Any:
    module, _, attribute = _PLACES[name].partition(":")
    found = getattr(import_module(f"yinqi.cli.{module}"), attribute)
    if isinstance(found, typer.Typer):
        return get_group(found)
    alone = typer.Typer(add_completion=False)
    alone.command(name, **_OPTIONS.get(name, {}))(found)
    return get_command(alone)


class _WhenAsked(Mapping[str, Any]):
    """The commands by name; each is imported when somebody asks for it, since all of them together take two seconds."""

    def __getitem__(self, name: str) -> Any:
        return _command(name)

    def __iter__(self) -> Iterator[str]:
        return iter(_PLACES)

    def __len__(self) -> int:
        return len(_PLACES)


class _Group(TyperGroup):
    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = cast("Any", _WhenAsked())  # nobody adds one


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # Locals hold account numbers.
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _yinqi() -> None:
    """yinqi 银企: bank-enterprise direct connect (银企直联)."""

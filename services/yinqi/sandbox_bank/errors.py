"""The ways in which the bank says no."""

from __future__ import annotations

from dataclasses import dataclass


class GatewayError(Exception):
    """The message never reached the bank's functions; answered as plain text, nothing was processed."""

    def __init__(self, code: str, text: str, *, prefix: str = "CDCServer:") -> None:
        super().__init__(f"{prefix}{code} {text}")
        self.code = code


class MessageRefused(Exception):
    """A function refused the whole message; answered signed, nothing was recorded."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code} {text}")
        self.code = code
        self.text = text


class ControlRefused(Exception):
    """A control call asked for something impossible; the text says what is allowed."""


@dataclass(frozen=True, slots=True)
class ScriptProblem:
    """What is wrong with one rule or entry of a script; line is None when it cannot be told."""

    where: str
    field: str
    text: str
    line: int | None

    def __str__(self) -> str:
        place = "" if self.line is None else f"line {self.line}: "
        return f"{place}{self.where}: {self.text.strip()}"


class ScriptError(ControlRefused):
    """A fault script cannot be understood; its problems name rule, field and line."""

    def __init__(self, problems: list[ScriptProblem]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems

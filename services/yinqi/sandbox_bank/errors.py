"""The ways in which the bank says no."""

from __future__ import annotations


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


class ScriptError(ControlRefused):
    """A fault script cannot be understood; the text names the rule and the field."""

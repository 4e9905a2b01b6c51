"""What one may ask of the virtual clock: jump, run at a rate, freeze."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

from yinqi.sandbox_bank.clock import CHINA, DAY_MS, RATE_MAX, BusinessClock
from yinqi.sandbox_bank.errors import ControlRefused

_YEAR_SECONDS = 366 * 86_400

Move = Callable[[BusinessClock], None]


def read_move(asked: Mapping[str, Any]) -> Move:
    """The move a control call asks for.

    Raises:
        ControlRefused: not exactly one known move, or a value out of range.
    """
    moves: Mapping[str, Callable[[Any], Move]] = {
        "advance_days": lambda value: _jump(_whole("advance_days", value, 366) * DAY_MS),
        "advance_seconds": lambda value: _jump(_whole("advance_seconds", value, _YEAR_SECONDS) * 1000),
        "jump_to": _jump_to,
        "rate": lambda value: _run(_rate(value)),
        "freeze": _freeze,
    }
    if len(asked) != 1 or not set(asked) <= set(moves):
        raise ControlRefused(f"exactly one of {', '.join(moves)} is needed")
    name, value = next(iter(asked.items()))
    return moves[name](value)


def _jump(by_ms: int) -> Move:
    return lambda clock: clock.advance(by_ms)


def _run(rate: float) -> Move:
    return lambda clock: clock.run(rate)


def _freeze(value: Any) -> Move:
    if not isinstance(value, bool):
        raise ControlRefused("freeze must be true or false")
    return lambda clock: clock.run(0.0 if value else clock.rate or 1.0)


def _jump_to(value: Any) -> Move:
    try:
        at = dt.datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        at = None
    if at is None:
        raise ControlRefused('jump_to must be a time like "2026-12-01T09:00:00", the bank\'s local time')
    at_ms = int((at if at.tzinfo else at.replace(tzinfo=CHINA)).timestamp() * 1000)

    def move(clock: BusinessClock) -> None:
        by_ms = at_ms - clock.now_ms()
        if not 0 <= by_ms <= _YEAR_SECONDS * 1000:
            raise ControlRefused("jump_to must lie ahead of the bank's clock, at most a year: booked days are closed")
        clock.advance(by_ms)

    return move


def _rate(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= RATE_MAX:
        raise ControlRefused(f"rate must be a number from 0 (frozen) to {RATE_MAX}; 1 is real time")
    return float(value)


def _whole(name: str, value: Any, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise ControlRefused(f"{name} must be a whole number, not negative, at most a year")
    return value

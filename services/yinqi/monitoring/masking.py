"""Personal data as it may be shown in lists, alerts and descriptions."""

from __future__ import annotations

_SHOWN = 4


def mask_account(identification: str) -> str:
    """Return the first and last four characters with stars between; short numbers keep only their last two."""
    if len(identification) <= 2 * _SHOWN:
        return "*" * max(0, len(identification) - 2) + identification[-2:]
    return f"{identification[:_SHOWN]}****{identification[-_SHOWN:]}"


def mask_name(name: str) -> str:
    """Return the first character with two stars, e.g. "张**"."""
    return f"{name[:1]}**" if name else ""

"""The sandbox bank's control API as the demo uses it: its clock, and its own book as the judge."""

from __future__ import annotations

from typing import Any

import httpx


class BankControl:
    """Talks to /control of the sandbox bank; survives a restart of it."""

    def __init__(self, address: str) -> None:
        self._client = httpx.AsyncClient(
            base_url=f"http://{address}",
            trust_env=False,
            timeout=30.0,
            transport=httpx.AsyncHTTPTransport(retries=5),  # Retries connecting only; never a request that was sent.
        )

    async def business_date(self) -> str:
        """Return the bank's date, ISO 8601."""
        return str((await self._get("/control/clock"))["business_date"])

    async def advance_day(self) -> str:
        """Let a night pass at the bank; return its new date."""
        response = await self._client.post("/control/clock", json={"advance_days": 1})
        response.raise_for_status()
        return str(response.json()["business_date"])

    async def book(self) -> dict[str, Any]:
        """Return what the bank itself says it received and debited, reference by reference."""
        return await self._get("/control/book")

    async def _get(self, path: str) -> dict[str, Any]:
        response = await self._client.get(path)
        response.raise_for_status()
        found: dict[str, Any] = response.json()
        return found

    async def close(self) -> None:
        """Close connections."""
        await self._client.aclose()

"""Where the gateway's tables are listed."""

from __future__ import annotations

from sqlalchemy import MetaData

METADATA = MetaData()

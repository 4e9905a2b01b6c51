"""Checks evidence bundles without any service: `yinqi-verify`, also as a library (docs/evidence-bundle.md).

Needs Python's standard library and `yinqi.crypto`, nothing else of ours: it shares no code with who makes the bundles.
"""

from __future__ import annotations

from yinqi.verify.bundle import Bundle, NotABundle, read_bundle
from yinqi.verify.claims import Broken, Claim, Standing
from yinqi.verify.report import Report, verify
from yinqi.verify.trust import NO_TRUST, Trust, read_trust

__all__ = [
    "NO_TRUST",
    "Broken",
    "Bundle",
    "Claim",
    "NotABundle",
    "Report",
    "Standing",
    "Trust",
    "read_bundle",
    "read_trust",
    "verify",
]

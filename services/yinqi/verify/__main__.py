"""`python -m yinqi.verify` is `yinqi-verify`."""

from __future__ import annotations

from yinqi.verify.command import run

run()

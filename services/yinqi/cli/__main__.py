"""`python -m yinqi.cli`: the same as the `yinqi` command."""

from yinqi.cli import app

app()

"""``python -m mslm_cli`` is ``mslm``."""

from mslm_cli.cli.app import app

app(prog_name="mslm")

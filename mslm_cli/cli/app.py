"""The program ``mslm`` with all its subcommands."""

from importlib import import_module

from mslm_cli.cli._command import COMMANDS, app

__all__ = ["app"]

for _module in COMMANDS.values():
    import_module(f"mslm_cli.cli.{_module}")

"""The command line."""

from heteroreg.cli.app.app import main

__all__ = ["main"]

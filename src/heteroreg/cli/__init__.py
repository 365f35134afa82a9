"""The command line."""

from heteroreg.cli.app import main

__all__ = ["main"]

"""Brings NiiVue into the package before a wheel or an editable install is built; see `tools/fetch_niivue.py`."""

import runpy
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class NiiVueHook(BuildHookInterface[Any]):
    """Fetches NiiVue before files are collected; goes on without it where there is no registry."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - Hatch's
        """Called before each build."""
        fetch = runpy.run_path(str(Path(self.root) / "tools" / "fetch_niivue.py"))["fetch"]
        try:
            fetch()
        except OSError as error:
            message = f"NiiVue could not be fetched ({error}): pages will show volumes slice by slice"
            print(message, file=sys.stderr)

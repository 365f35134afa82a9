"""Report of a comparison: tables, figures and a self-contained page."""

from heteroreg.system.matplotlib_backend import require_matplotlib

require_matplotlib()

from heteroreg.report.write import write_report  # noqa: E402

__all__ = ["write_report"]

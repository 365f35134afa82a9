"""Report of a comparison: tables, figures and a self-contained page."""

from heteroreg.report.write import write_report

__all__ = ["write_report"]

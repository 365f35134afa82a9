"""Comparisons as a page: tables, figures, a gallery of pairs."""

from heteroreg.report.write import write_report

__all__ = ["write_report"]

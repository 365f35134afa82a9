"""Figures for print, as in the paper: vector PDF and PNG."""

from heteroreg.report.paper.write import write_figures

__all__ = ["write_figures"]

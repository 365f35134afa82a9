"""Figures for print as vector PDF and PNG."""

from heteroreg.report.paper.write import figures_of, write_figures

__all__ = ["figures_of", "write_figures"]

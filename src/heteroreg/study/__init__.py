"""Studies: a matrix of trainings, from one file to the tables."""

from heteroreg.study.study import run_study

__all__ = ["run_study"]

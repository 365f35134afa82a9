"""Scores of registrations: overlap, distances, regularity, uncertainty, truth."""

from heteroreg.evaluation.evaluate import evaluate
from heteroreg.evaluation.gallery import Case
from heteroreg.evaluation.metrics import Metric, metric
from heteroreg.evaluation.row import Mode
from heteroreg.evaluation.scores import Scores

__all__ = ["Case", "Metric", "Mode", "Scores", "evaluate", "metric"]

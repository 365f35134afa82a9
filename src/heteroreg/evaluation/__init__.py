"""Scores of registrations: overlap, distances, regularity, uncertainty, truth."""

from heteroreg.evaluation.evaluate import evaluate
from heteroreg.evaluation.gallery import Case
from heteroreg.evaluation.metrics import Metric, is_metric, metric
from heteroreg.evaluation.row import ScoringMode
from heteroreg.evaluation.scores import Scores

__all__ = ["Case", "Metric", "Scores", "ScoringMode", "evaluate", "is_metric", "metric"]

"""Scores of registrations: overlap, distances, regularity, uncertainty, truth."""

from heteroreg.evaluation.evaluate import evaluate
from heteroreg.evaluation.gallery import Case
from heteroreg.evaluation.metrics import Metric, is_metric, metric
from heteroreg.evaluation.scores import Scores
from heteroreg.evaluation.scoring import ScoringMode

__all__ = ["Case", "Metric", "Scores", "ScoringMode", "evaluate", "is_metric", "metric"]

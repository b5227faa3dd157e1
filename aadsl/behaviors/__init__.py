"""Behaviors: performance functions by the name the language uses."""

from __future__ import annotations

from aadsl.behaviors.base import Metric
from aadsl.behaviors.classification import Accuracy, LogLikelihood, Loss, Margin, Probability, reads_labels
from aadsl.behaviors.custom import Custom, metric_text
from aadsl.behaviors.language_model import TokenLogLikelihood
from aadsl.behaviors.regression import SquaredError

__all__ = ["BEHAVIORS", "Custom", "Metric", "metric_text", "reads_labels"]

BEHAVIORS: dict[str, type[Metric]] = {
    "log_likelihood": LogLikelihood,
    "margin": Margin,
    "probability": Probability,
    "loss": Loss,
    "accuracy": Accuracy,
    "squared_error": SquaredError,
    "token_log_likelihood": TokenLogLikelihood,
}

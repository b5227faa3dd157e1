"""Behaviors of language models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from aadsl.core.errors import AadslError


@dataclass(frozen=True)
class TokenLogLikelihood:
    """Mean log p(token | tokens before it) over each example's tokens, in nats a token.

    Examples are token ids (n, length), alone, in a pair with labels, or as ``input_ids`` (and ``labels``) of a
    mapping; labels of −100 do not count, as usual.
    """

    differentiable: ClassVar[bool] = True
    higher_is_better: ClassVar[bool] = True
    unit: ClassVar[str] = "nats per token"

    def __call__(self, model: nn.Module, examples: Any) -> Tensor:
        """Return the mean token log-likelihood of each example, (n,)."""
        tokens, labels = _tokens_and_labels(examples)
        output = model(**{"input_ids": tokens}) if isinstance(examples, Mapping) else model(tokens)
        scores = getattr(output, "logits", output)
        if not isinstance(scores, Tensor) or scores.dim() != 3:
            raise AadslError(
                "token_log_likelihood needs scores of shape (examples, tokens, vocabulary) from the model",
                hint="for other models give a callable fn(model, examples) that returns one number an example",
            )
        losses = nn.functional.cross_entropy(scores[:, :-1].transpose(1, 2), labels[:, 1:], reduction="none")
        counted = (labels[:, 1:] != -100).sum(dim=1).clamp(min=1)
        return -losses.sum(dim=1) / counted


def _tokens_and_labels(examples: Any) -> tuple[Tensor, Tensor]:
    if isinstance(examples, Mapping):
        tokens = examples["input_ids"]
        return tokens, examples.get("labels", tokens)
    parts = examples if isinstance(examples, (tuple, list)) else (examples,)
    tokens = parts[0]
    labels = parts[1] if len(parts) > 1 and parts[1].shape == tokens.shape else tokens
    return tokens, labels

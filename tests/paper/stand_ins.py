"""What stands in for the paper's data: packages and files of the same interface, tiny, made up as they are needed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn

from tests.paper.comments import IDENTITIES, MODEL, TABLE
from tests.paper.xrays import SOURCES

WORDS = ("good", "bad", *IDENTITIES)


class Faces:
    """As ``torchvision.datasets.CelebA``: the blond ones are bright."""

    def __init__(self, root: Path, split: str, transform: Any) -> None:
        if not (root / "celeba").is_dir():
            raise RuntimeError("Dataset not found or corrupted. You can use download=True to download it")
        draw = torch.Generator().manual_seed(len(split))
        self.attr_names, self.transform = ["Young", "Blond_Hair", "Male", ""], transform
        self.attr = (torch.arange(40)[:, None] // torch.tensor([8, 2, 1])) % 2
        self.images = torch.rand(40, 3, 64, 64, generator=draw) + self.attr[:, 1, None, None, None]

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        return self.transform(self.images[row]), self.attr[row]


class Shots:
    """As a set of ``torchxrayvision``: large hearts are bright; a label may be unknown."""

    def __init__(self, name: str, imgpath: str, transform: Any) -> None:
        draw = np.random.default_rng(len(name))
        self.pathologies, self.transform, self.folder = ["Atelectasis", "Cardiomegaly"], transform, Path(imgpath)
        self.labels = draw.integers(0, 2, (30, 2)).astype(np.float32)
        self.labels[::5, 1] = np.nan
        bright = np.nan_to_num(self.labels[:, 1])[:, None, None, None]
        self.images = draw.uniform(-1024, 0, (30, 1, 16, 16)).astype(np.float32) + 1024 * bright

    def __getitem__(self, row: int) -> dict[str, Any]:
        if (self.folder / "gone").exists():
            raise FileNotFoundError(2, "No such file", f"{self.folder}/{row}.png")
        return {"idx": row, "lab": self.labels[row], "img": self.transform(self.images[row])}


class Network(nn.Module):
    """As torchvision's, with a last layer that is called ``head``."""

    def __init__(self, head: str, weights: str) -> None:
        super().__init__()
        assert weights == "IMAGENET1K_V1"
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3, 4), nn.BatchNorm2d(4), nn.ReLU())
        self.head = head
        setattr(self, head, nn.Linear(4, 1000))

    def forward(self, images: Tensor) -> Tensor:
        return getattr(self, self.head)(self.features(images).mean((2, 3)))


def composed(steps: list) -> Any:
    def transform(image: Any) -> Any:
        for step in steps:
            image = step(image)
        return image

    return transform


def same(*options: Any) -> Any:
    """Return a transform that leaves images as they are."""
    return lambda image: image


TRANSFORMS = dict.fromkeys(("CenterCrop", "Resize", "ToTensor", "Normalize"), same)
VISION = SimpleNamespace(
    datasets=SimpleNamespace(CelebA=Faces),
    transforms=SimpleNamespace(Compose=composed, **TRANSFORMS),
    models=SimpleNamespace(
        resnet18=lambda weights: Network("fc", weights), densenet121=lambda weights: Network("classifier", weights)
    ),
)
SETS = {called: lambda name=name, **options: Shots(name, **options) for name, called in SOURCES.items()}
XRAYS = SimpleNamespace(datasets=SimpleNamespace(XRayCenterCrop=same, XRayResizer=same, **SETS))


def lay_out(folder: Path) -> None:
    """Put everything into a folder of data."""
    (folder / "celeba").mkdir(parents=True)
    for name in SOURCES:
        (folder / "xrays" / name).mkdir(parents=True)
    (folder / MODEL).mkdir(parents=True)
    draw = np.random.default_rng(0)
    rows = [
        {name: float(draw.integers(0, 2)) for name in IDENTITIES}
        | {"toxicity": toxicity, "split": ("train", "val", "test")[k % 3]}
        | {"comment_text": " ".join(["bad" if toxicity else "good", *draw.choice(WORDS, 1 + k % 3)])}
        for k, toxicity in enumerate(draw.integers(0, 2, 120).tolist())
    ]
    datasets.Dataset.from_list(rows).to_csv(folder / TABLE)
    words = Tokenizer(models.WordLevel({word: k for k, word in enumerate(("<pad>", "<unk>", *WORDS))}, "<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>").save_pretrained(folder / MODEL)
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "head_dim": 4}
    config = transformers.Gemma3TextConfig(vocab_size=len(WORDS) + 2, num_key_value_heads=1, pad_token_id=0, **sizes)
    transformers.Gemma3ForCausalLM(config).save_pretrained(folder / MODEL)

"""A Lightning ``Trainer``: a callback records it, and the loss is the module's own ``training_step``."""

import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import aadsl
from aadsl.integrations.lightning import RecorderCallback

digits = aadsl.datasets.mnist10k()
TRAINED_ON = TensorDataset(torch.tensor(digits.image.values[:600]), torch.tensor(digits.label.values[:600]))
DATA = None  # the recording holds the batches


class Classifier(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.ReLU(), nn.Linear(16, 10))

    def forward(self, images):
        return self.net(images)

    def training_step(self, batch, number):
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)


def loss_fn(model, batch):
    return model.training_step(batch, 0)


def train(path, epochs=2):
    torch.manual_seed(0)
    model = Classifier()
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    record = RecorderCallback(path, overwrite=True)  # the added line, and its place in the Trainer
    trainer = lightning.Trainer(max_epochs=epochs, accelerator="cpu", callbacks=[record], **quiet)
    trainer.fit(model, DataLoader(TRAINED_ON, batch_size=50, shuffle=True))
    model.trainer = None
    return model

"""A Hugging Face ``Trainer``: a callback records it, and the loss is the one that the model computes."""

import torch
from torch import nn
from transformers import Trainer, TrainingArguments

import aadsl
from aadsl.integrations.transformers import RecorderCallback, model_loss

digits = aadsl.datasets.mnist10k()
IMAGES, LABELS = torch.tensor(digits.image.values[:600]), torch.tensor(digits.label.values[:600])
TRAINED_ON = [{"images": image, "labels": label} for image, label in zip(IMAGES, LABELS, strict=True)]
DATA = None  # the recording holds the batches
loss_fn = model_loss


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.ReLU(), nn.Linear(16, 10))

    def forward(self, images, labels=None):
        logits = self.net(images)
        return logits if labels is None else {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def train(path, epochs=2):
    torch.manual_seed(0)
    model = Classifier()
    rate = {"learning_rate": 0.003, "lr_scheduler_type": "constant", "per_device_train_batch_size": 50}
    quiet = {"report_to": [], "disable_tqdm": True, "save_strategy": "no", "logging_strategy": "no", "use_cpu": True}
    arguments = TrainingArguments(f"{path}-checkpoints", num_train_epochs=epochs, **rate, **quiet)
    record = RecorderCallback(path, overwrite=True)  # the added line, and its place in the Trainer
    Trainer(model, arguments, train_dataset=TRAINED_ON, callbacks=[record]).train()
    return model

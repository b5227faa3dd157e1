"""kronfluence: influence functions with EK-FAC, from the last checkpoint."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from tests.peers.method import Method, main
from tests.peers.task import Task


def ekfac(task: Task, folder: Path) -> Tensor:
    model = task.model(-1)
    # user code
    from kronfluence.analyzer import Analyzer, prepare_model
    from kronfluence.arguments import ScoreArguments
    from kronfluence.task import Task as Described

    class Digits(Described):
        def compute_train_loss(self, batch: list[Tensor], model: nn.Module, sample: bool = False) -> Tensor:
            logits, labels = model(batch[0]), batch[1]
            if sample:
                labels = torch.multinomial(logits.detach().softmax(dim=1), 1).flatten()
            return nn.functional.cross_entropy(logits, labels, reduction="sum")

        def compute_measurement(self, batch: list[Tensor], model: nn.Module) -> Tensor:
            return self.compute_train_loss(batch, model)

        def get_influence_tracked_modules(self) -> list[str]:  # not what attention projects with, which it cannot track
            return [name for name, module in model.named_modules() if type(module) in (nn.Linear, nn.Conv2d)]

    analyzer = Analyzer("digits", prepare_model(model, Digits()), Digits(), cpu=True, output_dir=str(folder))
    train, scores = TensorDataset(task.inputs, task.targets), []
    analyzer.fit_all_factors("ekfac", train, per_device_batch_size=100)
    for name, on in task.behaviors.items():
        damped = ScoreArguments(damping_factor=None)  # a tenth of the mean eigenvalue
        analyzer.compute_pairwise_scores(name, "ekfac", TensorDataset(*on), train, 100, 100, score_args=damped)
        scores.append(analyzer.load_pairwise_scores(name)["all_modules"].mean(dim=0) / len(train))
    # end of user code
    return torch.stack(scores)


METHODS = {"EK-FAC": Method(ekfac, "zero_gradient", "the last checkpoint, linear and convolutional layers")}

if __name__ == "__main__":
    main(METHODS)

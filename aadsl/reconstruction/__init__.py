"""A run that nobody had recorded, trained again from checkpoint to checkpoint."""

from aadsl.reconstruction.reconstruct import reconstruct
from aadsl.reconstruction.report import Reconstruction

__all__ = ["Reconstruction", "reconstruct"]

"""Carrying effects through a training run: replay, adjoint and tangent sweeps. Torch only: no files, no xarray."""

from __future__ import annotations

from aadsl.propagation.adjoint import Sweep, adjoint_sweep, carried_back
from aadsl.propagation.averaging import Averaging, BufferRule, Formula, placed, shipped, taken_in
from aadsl.propagation.block_sweep import Block, BlockSweep, block_sweep, portions
from aadsl.propagation.curvature import (
    CentralDifference,
    Curvature,
    Exact,
    GaussNewton,
    OneSidedDifference,
    Point,
    Secant,
    Zero,
)
from aadsl.propagation.eigenpairs import eigenpairs, lanczos_products
from aadsl.propagation.ensemble import ensemble
from aadsl.propagation.evaluation import Evaluation
from aadsl.propagation.example_products import example_shares
from aadsl.propagation.example_sweep import StepExamples, example_sweep
from aadsl.propagation.finite import NotFiniteError
from aadsl.propagation.gradient_hooks import hooks_of, put_hooks
from aadsl.propagation.kinks import kinks
from aadsl.propagation.layout import Average, FlatState, Layout, alike, difference, inner
from aadsl.propagation.loss import LossFunction
from aadsl.propagation.objective import Objective
from aadsl.propagation.own_effects import own_effects
from aadsl.propagation.own_update import evaluated
from aadsl.propagation.readout import MetricFunction, Readout
from aadsl.propagation.refusals import CannotAdvanceTogetherError
from aadsl.propagation.rehearsal import Rehearsed, rehearse
from aadsl.propagation.replay import ObservedStep, Variation, backward, final_state, forward, observed
from aadsl.propagation.reruns import End, reruns, way_to
from aadsl.propagation.step import Batches, Displacement, Joining, Run, Step
from aadsl.propagation.step_map import StepMap
from aadsl.propagation.structure import Blockwise, Layerwise, Restricted
from aadsl.propagation.tangent import Tangents, at_end, tangent_sweep

__all__ = [
    "CURVATURES",
    "Average",
    "Averaging",
    "Batches",
    "Block",
    "BlockSweep",
    "BufferRule",
    "CannotAdvanceTogetherError",
    "CentralDifference",
    "Curvature",
    "Displacement",
    "End",
    "Evaluation",
    "Exact",
    "FlatState",
    "Formula",
    "Joining",
    "Layout",
    "LossFunction",
    "MetricFunction",
    "NotFiniteError",
    "Objective",
    "ObservedStep",
    "OneSidedDifference",
    "Point",
    "Readout",
    "Rehearsed",
    "Restricted",
    "Run",
    "Secant",
    "Step",
    "StepExamples",
    "StepMap",
    "Sweep",
    "Tangents",
    "Variation",
    "adjoint_sweep",
    "alike",
    "at_end",
    "backward",
    "block_sweep",
    "carried_back",
    "difference",
    "eigenpairs",
    "ensemble",
    "evaluated",
    "example_shares",
    "example_sweep",
    "final_state",
    "forward",
    "hooks_of",
    "inner",
    "kinks",
    "lanczos_products",
    "observed",
    "own_effects",
    "placed",
    "portions",
    "put_hooks",
    "rehearse",
    "reruns",
    "shipped",
    "taken_in",
    "tangent_sweep",
    "way_to",
]

CURVATURES: dict[str, type[Curvature]] = {
    "exact": Exact,
    "central_difference": CentralDifference,
    "one_sided_difference": OneSidedDifference,
    "secant": Secant,
    "gauss_newton": GaussNewton,
    "zero": Zero,
    "layerwise": Layerwise,
    "blockwise": Blockwise,
}

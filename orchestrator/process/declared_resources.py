"""What an agent is told that its node has: the rules for GPUs and for resources of one's own.

They raise ValueError, as pydantic wants it, with the sentence for whoever wrote the setting.
"""

from __future__ import annotations

from orchestrator.model.resources import GPU, NodeResources
from orchestrator.model.rules.faults import Fault, unfit_label_value
from orchestrator.model.rules.resources import MAX_GPUS, resource_faults


def split_models(value: object) -> object:
    """An empty place is kept, to be refused: without it those behind would get other indices."""
    if not isinstance(value, str):
        return value
    return tuple(value.split(",")) if value else ()


def gpu_models(models: tuple[str, ...]) -> tuple[str, ...]:
    """They are what manifests can name in `gpu_model`."""
    if len(models) > MAX_GPUS:
        raise ValueError(f"a node has at most {MAX_GPUS} GPUs")
    for model in models:
        if not model or any(unfit_label_value((), model)):
            raise ValueError(
                f"{model!r} is no model: write it in letters, digits, '.', '_' or '-', as V100M16"
            )
    return models


def own_amounts(amounts: dict[str, float]) -> dict[str, float]:
    if GPU in amounts:
        raise ValueError(f"{GPU} is counted by itself: list the models of the devices in gpus")
    return _fit_amounts(amounts)


def reserved_amounts(amounts: dict[str, float]) -> dict[str, float]:
    if GPU in amounts:
        raise ValueError(
            f"{GPU} cannot be reserved: take the device out of gpus, from the end of the list, so "
            "that the others keep their indices"
        )
    return _fit_amounts(amounts)


def _fit_amounts(amounts: dict[str, float]) -> dict[str, float]:
    rule = "it must be above 0"
    too_small = (Fault((name,), each, rule) for name, each in amounts.items() if each <= 0)
    for fault in (*too_small, *resource_faults((), NodeResources(custom=amounts))):
        raise ValueError(fault.sentence)
    return amounts

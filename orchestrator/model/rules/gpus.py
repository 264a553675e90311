"""The rules for GPUs: whole devices or a share of one, and of which models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchestrator.model.problems import Path, path_text, value_text
from orchestrator.model.resources import GPU, MILLI
from orchestrator.model.rules.faults import Fault, repeated, too_many, unfit_label_value
from orchestrator.model.rules.resources import MAX_GPUS
from orchestrator.model.workload import ContainerConfig


def gpu_faults(containers: Sequence[ContainerConfig]) -> Iterator[Fault]:
    """Of one instance, whose containers share its devices."""
    yield from _request_faults(containers)
    for index, container in enumerate(containers):
        path = ("containers", index)
        yield from _limit_faults(path, container)
        yield from _model_faults(path, container)
    yield from _differing_models(containers)


def _request_faults(containers: Sequence[ContainerConfig]) -> Iterator[Fault]:
    """Amounts out of all bounds are no business of these: the rules of resources tell them."""
    asked = [
        (("containers", index, "resource_requests", GPU), amount)
        for index, container in enumerate(containers)
        if 0 < (amount := container.resource_requests.custom.get(GPU, 0.0)) <= MAX_GPUS
    ]
    split = [(path, amount) for path, amount in asked if _is_split(_milli(amount))]
    for path, amount in split:
        rule = "it must be a whole number of devices, or less than 1: a share of one"
        yield Fault(path, amount, rule)
    if not asked or split:
        return
    total = sum(_milli(amount) for _, amount in asked)
    if _is_split(total) or total > MAX_GPUS * MILLI:
        bounds = f"a whole number up to {MAX_GPUS}, or less than 1"
        rule = f"with the other containers' it makes {value_text(total / MILLI)}: it must make"
        yield Fault(*asked[-1], f"{rule} {bounds}")


def _milli(amount: float) -> int:
    return round(amount * MILLI)


def _is_split(milli: int) -> bool:
    """More than one device, and not a whole number of them."""
    return milli > MILLI and milli % MILLI != 0


def _limit_faults(path: Path, container: ContainerConfig) -> Iterator[Fault]:
    if limit := container.resource_limits.custom.get(GPU):
        rule = "a device has no limit but what is requested of it: leave it out"
        yield Fault((*path, "resource_limits", GPU), limit, rule)


def _model_faults(path: Path, container: ContainerConfig) -> Iterator[Fault]:
    models = container.gpu_model
    path, requests = (*path, "gpu_model"), (*path, "resource_requests", GPU)
    if models and not container.resource_requests.custom.get(GPU):
        yield Fault(requests, 0, f"with {path_text(path)} given, it must be more")
    yield from too_many(path, models)
    for index, model in enumerate(models):
        if not model:
            yield Fault((*path, index), model, "it must name a model")
        yield from unfit_label_value((*path, index), model)
    yield from repeated(((*path, index), model, model) for index, model in enumerate(models))


def _differing_models(containers: Sequence[ContainerConfig]) -> Iterator[Fault]:
    naming = [(index, each) for index, each in enumerate(containers) if each.gpu_model]
    for index, container in naming[1:]:
        first, model = naming[0]
        if set(container.gpu_model) != set(model.gpu_model):
            other = path_text(("containers", first, "gpu_model"))
            rule = f"containers share their devices: name the same models as {other}"
            yield Fault(("containers", index, "gpu_model"), container.gpu_model, rule)

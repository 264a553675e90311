"""The nodes that have GPUs, as columns, and what is asked of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

WHOLE = 1000
"""Milli-units of one device."""
ABSENT = -1
"""Stands in `GpuTable.free` for a device that the node does not have."""


@dataclass(frozen=True, slots=True, order=True)
class GpuDemand:
    """What one instance needs: `count` devices, `gpu_milli` of each, beside `rest`.

    A fraction of a device (`gpu_milli` < 1000) goes with a count of 1; a count of 0 asks for no
    GPU. `rest` is in the order and unit of the table's columns. Bit i of `models` is set where
    model i will do; 0 means any.
    """

    rest: tuple[int, ...]
    gpu_milli: int = 0
    count: int = 0
    models: int = 0

    @property
    def gpu_total(self) -> int:
        return self.gpu_milli * self.count

    def accepts(self, model: int) -> bool:
        return self.models == 0 or bool(self.models >> model & 1)


@dataclass(frozen=True, slots=True)
class Choice:
    """A row of the table and which of its devices, in rising order."""

    row: int
    devices: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class GpuTable:
    """n nodes in the order of their names; the arrays belong to the caller, who changes them.

    `free[n, devices]`: milli-units left of each device, ABSENT where there is none.
    `model[n]`: a small number for the model of all the node's devices.
    `rest[n, resources]`: what is left of the other resources.
    """

    free: Ints
    model: Ints
    rest: Ints

    @property
    def rows(self) -> Ints:
        return np.arange(len(self.free))

    def fits(self, demand: GpuDemand, rows: Ints) -> Mask:
        """For each of `rows`: does it hold the demand now?"""
        fits: Mask = np.all(self.rest[rows] >= demand.rest, axis=1)
        if demand.models:
            fits &= (demand.models >> self.model[rows] & 1).astype(np.bool_)
        if demand.count:
            fits &= (self.free[rows] >= demand.gpu_milli).sum(axis=1) >= demand.count
        return fits

    def take(self, demand: GpuDemand, choice: Choice) -> None:
        self.rest[choice.row] -= demand.rest
        self.free[choice.row, list(choice.devices)] -= demand.gpu_milli

    def give_back(self, demand: GpuDemand, choice: Choice) -> None:
        self.rest[choice.row] += demand.rest
        self.free[choice.row, list(choice.devices)] += demand.gpu_milli


def first_devices(free: Ints, demand: GpuDemand) -> Mask:
    """Of each row of `free`, the first `count` devices that have `gpu_milli` left."""
    fits = free >= demand.gpu_milli
    first: Mask = fits & (fits.cumsum(axis=1) <= demand.count)
    return first


def distinct_devices(free: Ints, demand: GpuDemand) -> tuple[Ints, Ints]:
    """Places in `free` where one device has room, of devices with equally much left in a row
    only the first: as (rows, devices), row by row."""
    same = np.tril(free[:, :, None] == free[:, None, :], k=-1).any(axis=2)
    rows, devices = np.nonzero((free >= demand.gpu_milli) & ~same)
    return rows, devices


def table_of(
    gpus: Sequence[Sequence[int]], models: Sequence[int], rest: Sequence[Sequence[int]]
) -> GpuTable:
    """From each node's list of devices, shorter where the node has fewer."""
    widest = max(map(len, gpus), default=0)
    free = np.full((len(gpus), widest), ABSENT, dtype=np.int64)
    for row, devices in enumerate(gpus):
        free[row, : len(devices)] = devices
    columns = np.array(rest, dtype=np.int64).reshape(len(gpus), -1 if len(gpus) else 0)
    return GpuTable(free, np.array(models, dtype=np.int64), columns)

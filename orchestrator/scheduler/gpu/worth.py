"""What free GPU is worth: tables of how much of a gap the demand seen so far would fill.

The theory is in `expected_fill`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orchestrator.scheduler.gpu.table import ABSENT, WHOLE, GpuDemand, GpuTable, Ints

Floats = npt.NDArray[np.float64]
Counted = Sequence[tuple[GpuDemand, int]]

CELL = 10
"""Milli-units in a cell of the tables; gaps are rounded down to cells, demands up."""
CELLS = WHOLE // CELL
OFFERS = 50
"""How many demands a gap is offered before it counts as left empty."""
PRICES = 6
"""How many prices are tried for each resource."""
UNIT = 1 << 30
"""Parts of a milli-unit of GPU: worths are whole numbers of these, so that sums are exact."""
LARGEST = 1 << 61
"""No sum of resources at their prices exceeds it."""


@dataclass(frozen=True, slots=True, eq=False)
class Worth:
    """`prices[j, resource]`: vector j's price of a milli-unit of each resource, in UNITs.
    `gaps[j, model * (CELLS + 1) + cells]`: what a gap in a device is worth at them, in UNITs."""

    prices: Ints
    gaps: Ints

    def of_gaps(self, model: Ints, gaps: Ints) -> Ints:
        """[prices, ...] for gaps in milli-units, each in a device of that model."""
        worths: Ints = self.gaps[:, model * (CELLS + 1) + gaps.clip(min=0) // CELL]
        return worths

    def of_rest(self, rest: Ints) -> Ints:
        """[prices, rows] for what each row holds beside GPU.

        Of a resource so plentiful that the product would overflow only a part is counted: it
        has no bearing on any node's worth.
        """
        total = np.zeros((len(self.prices), len(rest)), dtype=np.int64)
        for column, prices in enumerate(self.prices.T):
            most = LARGEST // len(self.prices.T) // max(1, int(prices.max()))
            total += prices[:, None] * rest[:, column].clip(max=most)
        return total


def worth_of(demands: Counted, table: GpuTable) -> Worth:
    """From the demands seen, each with its number; of the table it matters only how many devices
    there are of each model, not what is free of them."""
    asking = [(demand, number) for demand, number in demands if demand.count]
    prices = _prices(asking, table.rest.shape[1])
    gaps = _gaps(asking, prices, _devices_by_model(table)).transpose(1, 2, 0)
    return Worth(prices, np.rint(gaps * UNIT).astype(np.int64).reshape(len(prices), -1))


def _devices_by_model(table: GpuTable) -> Floats:
    devices = (table.free != ABSENT).sum(axis=1)
    return np.bincount(table.model, weights=devices, minlength=1).astype(np.float64)


def _prices(asking: Counted, resources: int) -> Ints:
    """A vector of zeros, then for each resource alone PRICES quantiles of the GPU that comes
    with a unit of it."""
    rest = np.array([demand.rest for demand, _ in asking], dtype=np.int64)
    rest = rest.reshape(len(asking), resources)
    totals = np.array([demand.gpu_total for demand, _ in asking], dtype=np.float64)
    numbers = np.array([number for _, number in asking], dtype=np.int64)
    vectors = [np.zeros(resources, dtype=np.int64)]
    for column in range(resources):
        needs = rest[:, column] > 0
        for each in _quantiles(totals[needs] / rest[needs, column], numbers[needs]):
            vector = np.zeros(resources, dtype=np.int64)
            vector[column] = round(each * UNIT)
            vectors.append(vector)
    return np.array(vectors)


def _quantiles(values: Floats, weights: Ints) -> list[float]:
    if not len(values):
        return []
    order = np.argsort(values)
    cumulated = weights[order].cumsum()
    wanted = (np.arange(PRICES) + 0.5) / PRICES * cumulated[-1]
    places = np.searchsorted(cumulated, wanted)
    return sorted(set(values[order[places]].tolist()))


def _gaps(asking: Counted, prices: Ints, devices: Floats) -> Floats:
    """[cells, prices, models] in milli-units, by the recursion, for all models and prices at
    once. `devices[model]` is the number of them.

    As many cells as the smallest demand has are worked out together: whatever fills a gap of one
    of them leaves less than any of them.
    """
    offers, profits = _offers(asking, prices, devices)
    end = max(1, sum(number * demand.count for demand, number in asking)) / OFFERS
    fitting, earned = offers.cumsum(axis=0) + end, profits.cumsum(axis=0)
    sizes = np.flatnonzero(offers.any(axis=(1, 2)))
    smallest = int(sizes.min(initial=CELLS))
    gaps = np.zeros(profits.shape)
    for first in range(smallest, CELLS + 1, smallest):
        last = min(first + smallest, CELLS + 1)
        partial = sizes[sizes + smallest < last]  # what is left beside the others is worth nothing
        left = (np.arange(first, last)[:, None] - partial).clip(min=0)
        later = (offers[partial] * gaps[left]).sum(axis=1)
        gaps[first:last] = ((earned[first:last] + later) / fitting[first:last]).clip(min=0)
    return gaps


def _offers(asking: Counted, prices: Ints, devices: Floats) -> tuple[Floats, Floats]:
    """[cells, 1, models] and [cells, prices, models]: the rate of the demands of that size, and
    what it brings in."""
    rates, costs = _rates(asking, devices), _costs(asking, prices)
    milli = np.array([demand.gpu_milli for demand, _ in asking], dtype=np.int64)
    order = np.argsort(milli, kind="stable")
    sizes, starts = np.unique(-(-milli[order] // CELL), return_index=True)
    offers = np.zeros((CELLS + 1, 1, len(devices)))
    profits = np.zeros((CELLS + 1, len(prices), len(devices)))
    rates, worths = rates[order, None, :], (milli[:, None] - costs)[order, :, None]
    offers[sizes] = np.add.reduceat(rates, starts, axis=0)
    profits[sizes] = np.add.reduceat(worths * rates, starts, axis=0)
    return offers, profits


def _rates(asking: Counted, devices: Floats) -> Floats:
    """[demands, models]: how often a device of that model is offered each demand, if all
    devices that it accepts are offered it equally often."""
    masks = np.array([demand.models for demand, _ in asking], dtype=np.int64)[:, None]
    numbers = np.array([number * demand.count for demand, number in asking], dtype=np.float64)
    accepts = (masks == 0) | (masks >> np.arange(len(devices)) & 1).astype(np.bool_)
    able = (accepts * devices).sum(axis=1)
    shares = np.where(able > 0, able, np.inf) / max(1, devices.sum())
    rates: Floats = accepts * (numbers / shares)[:, None]
    return rates


def _costs(asking: Counted, prices: Ints) -> Floats:
    """[demands, prices]: milli-units of GPU for what goes with one device beside GPU."""
    rest = np.array([demand.rest for demand, _ in asking], dtype=np.int64)
    counts = np.array([demand.count for demand, _ in asking], dtype=np.int64)
    shape = (len(asking), 1, prices.shape[1])
    costs: Floats = (rest.reshape(shape) * (prices / UNIT)).sum(axis=2) / counts[:, None]
    return costs

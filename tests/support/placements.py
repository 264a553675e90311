"""Hypothesis strategies for constraints that break no rule."""

from __future__ import annotations

from string import ascii_lowercase

from hypothesis import strategies as st

from orchestrator.model.placement import (
    Affinity,
    NodeSelector,
    Operator,
    Placement,
    Requirement,
    Strategy,
    TaintEffect,
    Toleration,
    TolerationOperator,
    TopologySpread,
    Unsatisfiable,
)

KEYS = st.sampled_from(["zone", "disk", "example.org/rack", "node", "on"])
VALUES = st.sampled_from(["a", "b", "1.10", "yes", "7"])
_names = st.text(ascii_lowercase, min_size=1, max_size=5)
_weights = st.none() | st.integers(1, 100)

_WHOLE = st.integers(-99, 99).map(lambda number: (str(number),))
_VALUES_BY_OPERATOR = {
    Operator.IN: st.lists(VALUES, min_size=1, max_size=3).map(tuple),
    Operator.NOT_IN: st.lists(VALUES, min_size=1, max_size=3).map(tuple),
    Operator.EXISTS: st.just(()),
    Operator.DOES_NOT_EXIST: st.just(()),
    Operator.GT: _WHOLE,
    Operator.LT: _WHOLE,
}


@st.composite
def requirements(draw: st.DrawFn) -> Requirement:
    operator = draw(st.sampled_from(Operator))
    return Requirement(draw(KEYS), operator, draw(_VALUES_BY_OPERATOR[operator]))


def _of_each_key(
    values: st.SearchStrategy[Requirement],
) -> st.SearchStrategy[list[Requirement]]:
    """One for each key, so that none contradicts another."""
    return st.lists(values, max_size=3, unique_by=lambda each: each.key)


@st.composite
def _selectors(draw: st.DrawFn) -> tuple[NodeSelector, ...]:
    return tuple(
        NodeSelector(each.key, each.operator, each.values, draw(_weights))
        for each in draw(_of_each_key(requirements()))
    )


@st.composite
def _affinities(draw: st.DrawFn, workloads: str) -> tuple[Affinity, ...]:
    """Each with a workload of its own prefix, so that none is the opposite of another."""
    return tuple(
        Affinity(
            workload=workloads + draw(_names),
            labels=draw(st.dictionaries(st.just("app"), st.just("") | VALUES)),
            expressions=tuple(draw(_of_each_key(requirements()))),
            topology_key=draw(KEYS),
            weight=draw(_weights),
        )
        for _ in range(draw(st.integers(0, 2)))
    )


_spreads = st.lists(
    st.builds(
        TopologySpread,
        KEYS,
        st.integers(1, 10_000),
        st.integers(1, 10_000),
        st.sampled_from(Unsatisfiable),
    ),
    max_size=3,
    unique_by=lambda each: (each.topology_key, each.when_unsatisfiable),
).map(tuple)


@st.composite
def tolerations(draw: st.DrawFn) -> Toleration:
    operator = draw(st.sampled_from(TolerationOperator))
    is_any = operator is TolerationOperator.EXISTS
    effect = draw(st.none() | st.sampled_from(TaintEffect))
    is_timed = effect in (None, TaintEffect.NO_EXECUTE)
    return Toleration(
        key=draw(st.just("") | KEYS if is_any else KEYS),
        operator=operator,
        value="" if is_any else draw(st.just("") | VALUES),
        effect=effect,
        seconds=draw(st.none() | st.floats(0, 86_400)) if is_timed else None,
    )


placements = st.builds(
    Placement,
    strategy=st.none() | st.sampled_from(Strategy),
    nodes=_selectors(),
    affinity=_affinities("with-"),
    anti_affinity=_affinities("without-"),
    spread=_spreads,
    tolerations=st.lists(tolerations(), max_size=3).map(tuple),
)

"""Constraints and GPUs in a manifest, wrong in every way that we have thought of."""

from __future__ import annotations

import itertools

import pytest

from orchestrator.model.manifest import parse_manifests
from orchestrator.model.placement import Operator, Requirement, Taint, meets
from orchestrator.model.rules.contradictions import can_be_met
from orchestrator.model.rules.placement import taint_faults
from tests.support.manifests import WEB, complaints

LETTERS = "1 to 63 letters, digits, '.', '_' or '-', with a letter or digit at both ends"
MANY = ", ".join(f"k{number}" for number in range(51))


def of_placement(members: str) -> list[str]:
    """What is said of a placement with these members, in line 5."""
    return [
        line.removeprefix("web.yaml:5: placement.")
        for line in complaints(f"{WEB}placement: {{{members}}}")
    ]


@pytest.mark.parametrize(
    ("selector", "told"),
    [
        ("{values: [a]}", "nodes[0].key is missing"),
        ("{key: '', values: [a]}", f"nodes[0].key is '': it must be {LETTERS}"),
        ("{key: a b, operator: Exists}", f"nodes[0].key is 'a b': it must be {LETTERS}"),
        ("{key: a}", "nodes[0].operator is 'In': it takes one value or more"),
        ("{key: a, operator: NotIn}", "nodes[0].operator is 'NotIn': it takes one value or more"),
        (
            "{key: a, operator: Exists, values: [b]}",
            "nodes[0].operator is 'Exists': it takes no values: leave them out",
        ),
        (
            "{key: a, operator: DoesNotExist, values: [b]}",
            "nodes[0].operator is 'DoesNotExist': it takes no values: leave them out",
        ),
        (
            "{key: a, operator: Gt, values: ['1', '2']}",
            "nodes[0].operator is 'Gt': it takes one whole number, like values: [\"8\"]",
        ),
        (
            "{key: a, operator: Lt, values: ['1.5']}",
            "nodes[0].values[0] is '1.5': Lt takes a whole number of at most 18 digits",
        ),
        (
            "{key: a, operator: Gt, values: [8]}",
            "nodes[0].values[0] is 8: without quotes it is a number; for text, write it in quotes",
        ),
        ("{key: a, values: [b c]}", f"nodes[0].values[0] is 'b c': it must be empty or {LETTERS}"),
        (
            f"{{key: a, values: [{MANY}]}}",
            "nodes[0].values is a list of 51: it may have at most 50 items",
        ),
        (
            "{key: a, operator: exists}",
            "nodes[0].operator is 'exists': it must be 'In' or 'NotIn' or 'Exists' or"
            " 'DoesNotExist' or 'Gt' or 'Lt'; did you mean 'Exists'?",
        ),
        ("{key: a, values: [b], weight: 0}", "nodes[0].weight is 0: it must be 1 to 100"),
        ("{key: a, values: [b], weight: 101}", "nodes[0].weight is 101: it must be 1 to 100"),
    ],
)
def test_a_selector_that_is_wrong(selector: str, told: str) -> None:
    assert of_placement(f"nodes: [{selector}]") == [told]


@pytest.mark.parametrize("name", ["affinity", "anti_affinity"])
@pytest.mark.parametrize(
    ("term", "told"),
    [
        (
            "{topology_key: zone}",
            " is empty: it must say which workloads: by workload, labels or expressions",
        ),
        (
            "{workload: Web}",
            ".workload is 'Web': it must be 1 to 63 of a-z, 0-9 and '-', with no '-' at either"
            " end; did you mean 'web'?",
        ),
        ("{labels: {a b: c}}", f".labels['a b'] is 'c': its name must be {LETTERS}"),
        ("{labels: {a: b c}}", f".labels.a is 'b c': it must be empty or {LETTERS}"),
        (
            "{expressions: [{key: a}]}",
            ".expressions[0].operator is 'In': it takes one value or more",
        ),
        (
            "{labels: {a: b}, expressions: [{key: a, operator: DoesNotExist}]}",
            " is 'a=b, no a': no workload can meet all of that",
        ),
        ("{workload: a, topology_key: ''}", f".topology_key is '': it must be {LETTERS}"),
        ("{workload: a, weight: -1}", ".weight is -1: it must be 1 to 100"),
        ("{workload: a, selector: {}}", None),
    ],
)
def test_an_affinity_that_is_wrong(name: str, term: str, told: str | None) -> None:
    unknown = f"unknown field 'selector' in placement.{name}[0]; known here: workload, labels, "
    wanted = f"web.yaml:5: {unknown}" if told is None else f"{name}[0]{told}"
    (complaint,) = of_placement(f"{name}: [{term}]")
    assert complaint.startswith(wanted)


@pytest.mark.parametrize(
    ("spread", "told"),
    [
        ("[{}]", "spread[0].topology_key is missing"),
        ("[{topology_key: a b}]", f"spread[0].topology_key is 'a b': it must be {LETTERS}"),
        ("[{topology_key: a, max_skew: 0}]", "spread[0].max_skew is 0: it must be 1 to 10000"),
        (
            "[{topology_key: a, min_domains: 10001}]",
            "spread[0].min_domains is 10001: it must be 1 to 10000",
        ),
        (
            "[{topology_key: a, when_unsatisfiable: never}]",
            "spread[0].when_unsatisfiable is 'never': it must be 'DoNotSchedule' or"
            " 'ScheduleAnyway'",
        ),
        (
            "[{topology_key: a}, {topology_key: a, max_skew: 2}]",
            "spread[1].topology_key is 'a': placement.spread[0].topology_key has it already",
        ),
    ],
)
def test_a_spread_that_is_wrong(spread: str, told: str) -> None:
    assert of_placement(f"spread: {spread}") == [told]


@pytest.mark.parametrize(
    ("toleration", "told"),
    [
        (
            "{}",
            "tolerations[0].operator is 'Equal': without a key it must be 'Exists', which then"
            " tolerates every taint",
        ),
        ("{key: a b}", f"tolerations[0].key is 'a b': it must be {LETTERS}"),
        ("{key: a, value: '-'}", f"tolerations[0].value is '-': it must be empty or {LETTERS}"),
        (
            "{key: a, operator: Exists, value: b}",
            "tolerations[0].operator is 'Exists': it takes no value: leave it out",
        ),
        (
            "{key: a, effect: NoSchedule, seconds: 5}",
            "tolerations[0].effect is 'NoSchedule': only 'NoExecute' is tolerated for a time:"
            " leave out seconds",
        ),
        ("{key: a, seconds: -1}", "tolerations[0].seconds is -1: it must be 0 to 31536000"),
        ("{key: a, seconds: 1e99}", "tolerations[0].seconds is 1e+99: it must be 0 to 31536000"),
        (
            "{key: a, effect: Never}",
            "tolerations[0].effect is 'Never': it must be 'NoSchedule' or 'PreferNoSchedule' or"
            " 'NoExecute'",
        ),
        (
            "{key: a, toleration_seconds: 5}",
            "web.yaml:5: unknown field 'toleration_seconds' in placement.tolerations[0]; did you"
            " mean 'seconds'?",
        ),
    ],
)
def test_a_toleration_that_is_wrong(toleration: str, told: str) -> None:
    assert of_placement(f"tolerations: [{toleration}]") == [told]


@pytest.mark.parametrize(
    ("members", "told"),
    [
        (
            "strategy: binpack",
            "strategy is 'binpack': it must be 'spread' or 'pack'; did you mean 'pack'?",
        ),
        (
            f"nodes: [{', '.join(['{key: a, operator: Exists}'] * 51)}]",
            "nodes is a list of 51: it may have at most 50 items",
        ),
        (
            f"affinity: [{{expressions: [{', '.join(['{key: a, values: [b]}'] * 51)}]}}]",
            "affinity[0].expressions is a list of 51: it may have at most 50 items",
        ),
        (
            "affinity: [{workload: a}], anti_affinity: [{workload: b}, {workload: a}]",
            "anti_affinity[1] is 'workload a (by node)': placement.affinity[0] is the same: no"
            " node can meet both",
        ),
    ],
)
def test_a_placement_that_is_wrong_as_a_whole(members: str, told: str) -> None:
    assert of_placement(members) == [told]


def test_the_same_may_be_wanted_here_and_shunned_there() -> None:
    parse_manifests(
        f"{WEB}placement: {{affinity: [{{workload: a, topology_key: zone}}, {{workload: b}}],"
        " anti_affinity: [{workload: a}, {workload: b, weight: 1}]}"
    )


@pytest.mark.parametrize(
    ("selectors", "asked"),
    [
        ("{key: a, values: [x]}, {key: a, values: [y]}", "a=x, a=y"),
        ("{key: a, operator: Exists}, {key: a, operator: DoesNotExist}", "a, no a"),
        (
            "{key: a, operator: Gt, values: ['5']}, {key: a, operator: Lt, values: ['3']}",
            "a > 5, a < 3",
        ),
        (
            "{key: a, operator: Gt, values: ['5']}, {key: a, operator: Lt, values: ['6']}",
            "a > 5, a < 6",
        ),
        ("{key: a, values: [x]}, {key: a, operator: NotIn, values: [x, y]}", "a=x, a!=x|y"),
        ("{key: a, values: ['3']}, {key: a, operator: Gt, values: ['3']}", "a=3, a > 3"),
        (
            "{key: a, values: [x, y]}, {key: a, values: [y, z]}, {key: a, values: [x, z]}",
            "a=x|y, a=y|z, a=x|z",
        ),
    ],
)
def test_selectors_that_no_node_can_meet(selectors: str, asked: str) -> None:
    assert of_placement(f"nodes: [{selectors}]") == [
        f"nodes is {asked!r}: no node can meet all of that"
    ]


def test_a_preference_and_another_label_contradict_nothing() -> None:
    preferred = "{key: a, values: [y], weight: 5}"
    others = "{key: b, values: [y]}, {key: c, operator: DoesNotExist}"
    parse_manifests(f"{WEB}placement: {{nodes: [{{key: a, values: [x]}}, {preferred}, {others}]}}")


def test_what_could_not_be_read_contradicts_nothing() -> None:
    selectors = "{key: a, values: [x]}, {key: a, operator: NotInn, values: [y]}"
    (complaint,) = of_placement(f"nodes: [{selectors}]")
    assert complaint.startswith("nodes[1].operator is 'NotInn': it must be 'In' or")


def test_a_contradiction_is_one_that_no_value_at_all_meets() -> None:
    """Against trying every value that could matter, absence among them."""
    numbers = [str(number) for number in range(-1, 6)]
    labels = [{}, *({"a": value} for value in ("x", "y", "z", "02", "03", *numbers))]
    known = [
        Requirement("a", Operator.EXISTS),
        Requirement("a", Operator.DOES_NOT_EXIST),
        *(
            Requirement("a", operator, values)
            for operator in (Operator.IN, Operator.NOT_IN)
            for values in (("x",), ("x", "2"), ("2", "3"))
        ),
        *(
            Requirement("a", operator, (bound,))
            for operator in (Operator.GT, Operator.LT)
            for bound in ("1", "2", "3")
        ),
    ]
    for asked in itertools.combinations(known, 3):
        is_met = any(all(meets(each, one) for one in asked) for each in labels)
        assert can_be_met(asked) is is_met, asked


def of_gpus(*containers: str) -> list[str]:
    """What is said of containers c0, c1, ... with these further members."""
    listed = [
        f"  - {{name: c{index}, command: [x], {members}}}\n"
        for index, members in enumerate(containers)
    ]
    return [
        line.partition(": containers")[2]
        for line in complaints("name: web\ncontainers:\n" + "".join(listed))
    ]


def gpus(amount: object, *models: str) -> str:
    return f"resource_requests: {{gpu: {amount}}}, gpu_model: [{', '.join(models)}]"


@pytest.mark.parametrize(
    ("containers", "told"),
    [
        (
            [gpus(1.5)],
            "[0].resource_requests.gpu is 1.5: it must be a whole number of devices, or less than"
            " 1: a share of one",
        ),
        ([gpus(65)], "[0].resource_requests.gpu is 65: it must be 0, or 0.001 to 64"),
        ([gpus(0.0001)], "[0].resource_requests.gpu is 0.0001: it must be 0, or 0.001 to 64"),
        ([gpus("1e999")], "[0].resource_requests.gpu is inf: it must be 0, or 0.001 to 64"),
        ([gpus(-1)], "[0].resource_requests.gpu is -1: it must be 0, or 0.001 to 64"),
        (
            [gpus(1), "args: []", gpus(0.5)],
            "[2].resource_requests.gpu is 0.5: with the other containers' it makes 1.5: it must"
            " make a whole number up to 64, or less than 1",
        ),
        (
            [gpus(64), gpus(1)],
            "[1].resource_requests.gpu is 1: with the other containers' it makes 65: it must make"
            " a whole number up to 64, or less than 1",
        ),
        (
            ["resource_limits: {gpu: 1}"],
            "[0].resource_limits.gpu is 1: a device has no limit but what is requested of it:"
            " leave it out",
        ),
        (
            ["gpu_model: [T4]"],
            "[0].resource_requests.gpu is 0: with containers[0].gpu_model given, it must be more",
        ),
        (
            [gpus(0, "T4")],
            "[0].resource_requests.gpu is 0: with containers[0].gpu_model given, it must be more",
        ),
        ([gpus(1, "T4", "T4")], "[0].gpu_model[1] is 'T4': containers[0].gpu_model[0] has it"),
        ([gpus(1, "''")], "[0].gpu_model[0] is '': it must name a model"),
        ([gpus(1, "T 4")], f"[0].gpu_model[0] is 'T 4': it must be empty or {LETTERS}"),
        ([gpus(1, MANY)], "[0].gpu_model is a list of 51: it may have at most 50 items"),
        (
            [gpus(1, "T4"), gpus(1), gpus(1, "T4", "A10")],
            "[2].gpu_model is a list of 2: containers share their devices: name the same models as"
            " containers[0].gpu_model",
        ),
        (
            ["resource_requests: {gpus: 1}"],
            "[0].resource_requests.gpus is 1: a resource of one's own needs another name; did you"
            " mean 'gpu'?",
        ),
        (
            ["resource_requests: {nvidia.com/gpu: 1}"],
            "[0].resource_requests.nvidia.com/gpu is 1: a resource of one's own needs another name;"
            " did you mean 'gpu'?",
        ),
    ],
)
def test_gpus_that_are_asked_for_in_vain(containers: list[str], told: str) -> None:
    (complaint,) = of_gpus(*containers)
    assert complaint.startswith(told)


@pytest.mark.parametrize(
    "containers",
    [
        [gpus(0.46, "V100M16", "V100M32")],
        [gpus(0.5), gpus(0.5)],
        [gpus(1, "A10", "T4"), gpus(2, "T4", "A10")],
        ["resource_requests: {vgpu: 1.5}"],
    ],
)
def test_gpus_that_can_be_given(containers: list[str]) -> None:
    listed = [f"{{name: c{at}, command: [x], {each}}}" for at, each in enumerate(containers)]
    assert parse_manifests(f"name: web\ncontainers: [{', '.join(listed)}]")


@pytest.mark.parametrize(
    ("taints", "told"),
    [
        ([Taint("a b")], f"taints[0].key is 'a b': it must be {LETTERS}"),
        ([Taint("a", "-")], f"taints[0].value is '-': it must be empty or {LETTERS}"),
        (
            [Taint("a"), Taint("a", "b")],
            "taints[1] is 'a=b:NoSchedule': taints[0] has it already",
        ),
        (
            [Taint(f"k{number}") for number in range(51)],
            "taints is a list of 51: it may have at most 50 items",
        ),
    ],
)
def test_taints_that_are_wrong(taints: list[Taint], told: str) -> None:
    assert [fault.sentence for fault in taint_faults(("taints",), tuple(taints))] == [told]

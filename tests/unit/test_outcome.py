"""How the end of a container is put into words."""

from __future__ import annotations

import pytest

from orchestrator.runtime.outcome import MAX_SHOWN, shown, with_last_words
from orchestrator.runtime.protocol import ContainerSpec, ContainerState, ContainerStatus

SPEC = ContainerSpec("default.web.0.1.app", "default.web.0.1", "app", 1, ("serve",))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("ValueError: no", "ValueError: no"),
        ("\x1b[1;31merror\x1b[0m:\tdisk\x07 full \r", "error:disk full"),
        ("x" * MAX_SHOWN, "x" * MAX_SHOWN),
        ("x" * (MAX_SHOWN + 1), "x" * (MAX_SHOWN - 1) + "…"),
        ("zw\u202eölf", "zwölf"),
    ],
)
def test_what_somebody_printed_is_shown_plainly(line: str, told: str) -> None:
    assert shown(line) == told


@pytest.mark.parametrize(
    ("code", "told"), [(1, "why"), (134, "why"), (0, ""), (137, ""), (143, ""), (None, "")]
)
def test_only_what_failed_by_itself_has_last_words(code: int | None, told: str) -> None:
    status = ContainerStatus(SPEC, ContainerState.EXITED, exit_code=code)
    assert with_last_words(status, lambda: "why").last_stderr == told

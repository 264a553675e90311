"""What runtimes print, and what becomes of it in an instance's status."""

from __future__ import annotations

import re

import pytest

from orchestrator.runtime.oci.words import last_line, refusal

RUNC = 'time="2026-11-22T20:00:00Z" level=error msg="{}"'
RUNC_START = "runc create failed: unable to start container process: "
YOUKI_EXEC = "Error: failed to create container: exec process failed with error error in executing"


@pytest.mark.parametrize(
    ("runtime", "said", "sentence"),
    [
        (
            "crun",
            "executable file `app` not found in $PATH: No such file or directory",
            "command 'app' is not found on the PATH of its image: correct `command`",
        ),
        (
            "runc",
            RUNC.format(RUNC_START + r"exec: \"app\": executable file not found in $PATH"),
            "command 'app' is not found on the PATH of its image: correct `command`",
        ),
        (
            "youki",
            YOUKI_EXEC + " process : executable 'app' not found in $PATH",
            "command 'app' is not found on the PATH of its image: correct `command`",
        ),
        ("crun", "exec container process `/bin/app`: Exec format error", "neither a program"),
        ("crun", "open executable: Permission denied", "is not executable: `chmod .x`"),
        (
            "runc",
            RUNC.format("runc create failed: cannot set up the moon"),
            "runc could not start it: cannot set up the moon",
        ),
        ("crun", "", "crun could not start it, and did not say why"),
        (
            "crun",
            "\n\nfirst\nmount `x`: No such device\n",
            "could not start it: mount `x`: No such",
        ),
    ],
)
def test_refusal_is_one_clear_sentence(runtime: str, said: str, sentence: str) -> None:
    found = refusal(said, "app", runtime)
    assert found == sentence or re.search(sentence, found)


def test_missing_path_may_mean_its_interpreter() -> None:
    said = "exec container process `/app`: No such file or directory"
    assert "nor the interpreter" in refusal(said, "/app", "crun")


def test_last_line_is_without_frills() -> None:
    said = f"{RUNC.format('one')}\n{RUNC.format('two')}\n"
    assert last_line(said) == "two"
    assert last_line("a\x1b[31mb\x1b[0m\n") == "ab"
    assert last_line("") == ""

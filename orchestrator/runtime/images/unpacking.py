"""Unpacking a layer in a process of its own, which takes its memory along when it ends."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator.model import errors
from orchestrator.runtime.images.terms import LayerBounds
from orchestrator.runtime.programs import Ended, Programs

PROGRAM = Path(__file__).with_name("unpack.py")


@dataclass(frozen=True, slots=True)
class Unpacked:
    """`size_bytes` is that of the archive; `is_opaque`: it hides all layers below it."""

    diff_id: str
    size_bytes: int
    is_opaque: bool


async def unpack(
    blob: Path, digest: str, target: Path, bounds: LayerBounds, programs: Programs
) -> Unpacked:
    """Unpack the file `blob` into `target`, an empty directory.

    Raises `RuntimeError` with what is wrong with the layer; what is half done is then there.
    """
    limits = asdict(bounds)
    limit_seconds = limits.pop("unpack_seconds")
    order = {"blob": str(blob), "digest": digest, "target": str(target), **limits}
    argv = [sys.executable, "-I", "-S", "-X", "utf8", str(PROGRAM)]
    name = f"its layer {digest[:19]}"
    try:
        ended = await programs.run(argv, json.dumps(order).encode(), limit_seconds)
    except TimeoutError:
        raise errors.RuntimeError(
            f"{name} was not unpacked within {limit_seconds:g} seconds"
        ) from None
    answer = _answer(ended)
    if "refused" in answer:
        raise errors.RuntimeError(f"{name} {answer['refused']}")
    return Unpacked(**answer)


def _answer(ended: Ended) -> dict[str, Any]:
    if ended.status == 0:
        answer: dict[str, Any] = json.loads(ended.output)
        return answer
    last = ended.complaint.splitlines()[-1:] or ["without a word"]
    return {"refused": f"could not be unpacked: the unpacker ended with {ended.status}: {last[0]}"}

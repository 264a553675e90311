"""skopeo's command line: the one thing here that speaks to registries."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from orchestrator.model import errors
from orchestrator.runtime.images.complaints import registry_words
from orchestrator.runtime.images.manifests import digest_of
from orchestrator.runtime.images.terms import RegistryTerms
from orchestrator.runtime.programs import Programs

NO_ROOM = "it does not fit on this node's disk: make room, as with `orc image prune`"
MAX_MANIFEST_BYTES = 1_000_000
LOOK_SECONDS = 0.2
OWN_LIMIT_LATER_SECONDS = 30.0

PROBE_SECONDS = 60.0
"""For its version, which takes it milliseconds; on a machine that has just started, seconds."""


class RegistryError(errors.RuntimeError):
    """The registry, or the way to it, is at fault: it may do better another time."""


class Skopeo:
    """Every method raises `RegistryError` in the registry's own words."""

    def __init__(self, terms: RegistryTerms, programs: Programs) -> None:
        self._terms = terms
        self._programs = programs
        self._program = terms.skopeo

    async def version(self) -> str:
        """Raises `RuntimeError` if there is no skopeo to be used."""
        found = shutil.which(self._terms.skopeo)
        if found is None:
            raise errors.RuntimeError(
                f"there is no {self._terms.skopeo!r} to pull images with: install skopeo, or name"
                " it with --skopeo"
            )
        self._program = found
        output = await self._run(["--version"], PROBE_SECONDS, waits_for=found)
        return output.decode(errors="replace").strip().removeprefix("skopeo version ")

    async def manifest(self, reference: str, digest: str = "") -> bytes:
        """Of an image, or the index of several. With a `digest` it has that one."""
        argv = [*self._globals(self._terms.answer_seconds), "inspect", "--raw", *self._access("")]
        content = await self._run([*argv, f"docker://{reference}"], self._terms.answer_seconds)
        if len(content) >= MAX_MANIFEST_BYTES:
            raise RegistryError(f"its manifest has more than {MAX_MANIFEST_BYTES} bytes")
        if digest and (found := digest_of(content)) != digest:
            raise RegistryError(f"the registry lies: asked for {digest}, it sent {found}")
        return content

    async def copy(
        self, reference: str, layout: Path, blobs: Path, look: Callable[[], None]
    ) -> None:
        """Bring all blobs of one image into `blobs`/sha256, but those whose names are there.

        `look` is called now and then; what it raises ends the copying.
        """
        limit = self._terms.pull_seconds
        argv = [*self._globals(limit), "copy", "--quiet", *self._access("src-")]
        argv += ["--dest-oci-accept-uncompressed-layers", "--dest-shared-blob-dir", str(blobs)]
        argv += [f"docker://{reference}", f"oci:{layout}:image"]
        running = asyncio.create_task(self._run(argv, limit))
        try:
            while not (await asyncio.wait({running}, timeout=LOOK_SECONDS))[0]:
                look()
            await running
        finally:
            running.cancel()
            await asyncio.wait({running})

    def _globals(self, limit_seconds: float) -> list[str]:
        """skopeo ends by itself, too, a while later: its agent may be there no more to end it."""
        conf = self._terms.registries_conf
        return [
            *(("--registries-conf", str(conf)) if conf else ()),
            f"--command-timeout={limit_seconds + OWN_LIMIT_LATER_SECONDS:.0f}s",
        ]

    def _access(self, side: str) -> list[str]:
        terms = self._terms
        return [
            *(("--authfile", str(terms.authfile)) if terms.authfile else ()),
            *((f"--{side}cert-dir", str(terms.cert_dir)) if terms.cert_dir else ()),
        ]

    async def _run(
        self, arguments: Sequence[str], limit_seconds: float, waits_for: str = "the registry"
    ) -> bytes:
        try:
            ended = await self._programs.run([self._program, *arguments], b"", limit_seconds)
        except TimeoutError:
            raise RegistryError(f"{waits_for} took longer than {limit_seconds:g} seconds") from None
        except OSError as error:
            raise errors.RuntimeError(
                f"{self._program} cannot be started: {error.strerror}"
            ) from None
        if "no space left on device" in ended.complaint:
            raise errors.RuntimeError(NO_ROOM)
        if ended.status:
            raise RegistryError(registry_words(ended.complaint))
        return ended.output

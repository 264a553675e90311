"""What must be there before an instance starts: its images, and word of its volumes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager

from orchestrator.agent.image_pins import PinStore
from orchestrator.agent.volume_rows import VolumeRows
from orchestrator.model import errors
from orchestrator.model.image import ImageReference
from orchestrator.model.instance import Assignment
from orchestrator.model.workload import WorkloadTemplate
from orchestrator.runtime.images.node_images import NodeImages
from orchestrator.runtime.protocol import ContainerSpec


class Preparation:
    """`images` None: this node runs plain processes only."""

    def __init__(
        self, node: str, images: NodeImages | None, pins: PinStore, volumes: VolumeRows
    ) -> None:
        self._node = node
        self._images = images
        self._pins = pins
        self._volumes = volumes

    @asynccontextmanager
    async def ready(
        self, assignment: Assignment, template: WorkloadTemplate, tell: Callable[[str], None]
    ) -> AsyncIterator[dict[str, str]]:
        """The pinned image of each container that has one: on this node, and kept there until the
        block ends. `tell` gets sentences on how far that is, the first before anything is asked.

        Raises `model.errors.RuntimeError` in the registry's own words, and `StateError` if the
        store has no such generation; `StoreError` passes.
        """
        if template.runtime() != "oci":
            yield {}
            return
        if self._images is None:
            raise errors.RuntimeError(
                f"node {self._node} runs no images: give its agent an OCI runtime (--oci-runtime)"
            )
        async with AsyncExitStack() as block:
            pinned = await self._pinned(self._images, assignment, template, tell)
            for container in template.containers:
                image = pinned[container.name]
                block.enter_context(self._images.using(image))
                await self._images.pull(image, container.pull_policy, tell, name=container.image)
            await block.enter_async_context(self._volumes.announced(assignment.name, template))
            yield pinned

    @contextmanager
    def again(self, specs: Iterable[ContainerSpec]) -> Iterator[None]:
        """In the block, what has run here is created anew: its images are kept, its volumes have
        their rows, and the store is not asked."""
        with ExitStack() as block:
            for spec in specs:
                if self._images is not None and spec.isolation is not None:
                    block.enter_context(self._images.using(spec.isolation.image))
            yield

    async def _pinned(
        self,
        images: NodeImages,
        assignment: Assignment,
        template: WorkloadTemplate,
        tell: Callable[[str], None],
    ) -> dict[str, str]:
        """A tag is resolved once for a generation, by the first node that needs it."""

        async def resolve() -> dict[str, str]:
            found = {}
            for each in template.containers:
                tell(f"looking up image {each.image}")
                found[each.name] = await images.resolve(each.image, each.pull_policy)
            return found

        if all(ImageReference.parse(each.image).is_pinned for each in template.containers):
            return await resolve()
        return await self._pins.pin(assignment, resolve)

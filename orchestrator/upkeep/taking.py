"""Taking one backup by hand."""

from __future__ import annotations

from pathlib import Path

from orchestrator.model.errors import ConfigError
from store.maintenance import snapshot_to
from store.protocol import Store


async def take_backup(store: Store, path: Path) -> int:
    """Its size in bytes. Raises `StoreError`, and `ConfigError` where the file cannot be made."""
    try:
        return await snapshot_to(store, path)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from None

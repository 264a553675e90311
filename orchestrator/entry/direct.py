"""Where the commands that speak to etcd itself find it: as told, else in the local cluster."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from orchestrator.cli.discovery import find_data_dir
from orchestrator.entry.start import read_settings
from orchestrator.local.data_dir import DataDir
from orchestrator.local.record import read_record
from orchestrator.process.logs import configure_logs
from orchestrator.process.upkeep_settings import EtcdSettings


def direct_settings(
    flags: Mapping[str, object], config: Path | None, *, show_config: bool
) -> EtcdSettings:
    """Where no etcd is named, that of the local cluster, if one runs. Raises `ConfigError`."""
    settings = read_settings(EtcdSettings, flags, config, show_config=show_config)
    configure_logs(settings)
    if "etcd_endpoints" in settings.model_fields_set:
        return settings
    record = read_record(DataDir(find_data_dir(None, os.environ)))
    endpoints = record.etcd if record else ()
    return settings.model_copy(update={"etcd_endpoints": endpoints}) if endpoints else settings

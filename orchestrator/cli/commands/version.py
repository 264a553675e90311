"""`orc version`."""

from __future__ import annotations

import platform

import click


@click.command()
def version() -> None:
    """Show the version of orc."""
    click.echo(f"orc {_version()} (Python {platform.python_version()})")


def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version("orchestrator")
    except metadata.PackageNotFoundError:
        return "from a source tree that is not installed"

"""`orc version` and `orc completion`: about `orc` itself, without a cluster."""

from __future__ import annotations

import platform

import click
from click.shell_completion import get_completion_class

from orchestrator import installed_version


@click.command()
def version() -> None:
    """Show the version of orc."""
    number = installed_version() or "from a source tree that is not installed"
    click.echo(f"orc {number} (Python {platform.python_version()})")


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script for SHELL.

    \b
    bash:  orc completion bash > ~/.local/share/bash-completion/completions/orc
    zsh:   orc completion zsh > "${fpath[1]}/_orc"
    fish:  orc completion fish > ~/.config/fish/completions/orc.fish
    """
    root = ctx.find_root()
    maker = get_completion_class(shell)
    assert maker is not None, shell
    click.echo(maker(root.command, {}, "orc", "_ORC_COMPLETE").source())

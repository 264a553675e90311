"""`orc`, called as a shell calls it, but within the test's process."""

from __future__ import annotations

from collections.abc import Mapping

from click.testing import CliRunner, Result

from orchestrator.cli.app import orc

WEB = """\
name: web
replicas: 3
containers:
  - name: app
    command: [serve]
    ports:
      - container_port: 8080
"""


def run_orc(
    *arguments: str, stdin: str | bytes = "", env: Mapping[str, str] | None = None
) -> Result:
    """Its exit code and what it printed. Variables of the test's own environment do not count."""
    cleared = dict.fromkeys(("ORC_SERVER", "ORC_TOKEN_FILE", "ORC_CA_FILE", "ORC_DATA_DIR"))
    result = CliRunner().invoke(
        orc, list(arguments), input=stdin, env={**cleared, **(env or {})}, prog_name="orc"
    )
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


class Orc:
    """`orc` with these servers."""

    def __init__(self, servers: list[str]) -> None:
        self._servers = ",".join(servers)

    def __call__(self, *arguments: str, stdin: str = "") -> Result:
        return run_orc("--server", self._servers, *arguments, stdin=stdin)

    def succeeds(self, *arguments: str, stdin: str = "") -> str:
        """Its standard output."""
        result = self(*arguments, stdin=stdin)
        assert result.exit_code == 0, result.output
        return result.stdout

"""In CI a test that is skipped because a package is missing has failed: CI can install it.

What a machine cannot be given (a Docker engine that its kernel does not let run, root) may be
skipped there too. A reason that asks to install something says which of the two it is.
"""

from __future__ import annotations

import os

import pytest


def fail_if_a_package_is_missing(report: pytest.TestReport) -> None:
    """Turn the report of such a skip into one of a failure."""
    if not (report.skipped and os.environ.get("CI")) or not isinstance(report.longrepr, tuple):
        return
    reason = report.longrepr[2]
    if "install" in reason:
        report.outcome = "failed"
        report.longrepr = f"in CI nothing is skipped for want of a package: {reason}"

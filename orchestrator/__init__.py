"""A highly available container orchestrator on etcd.

Desired in, observed in, plan out, commit: `model` holds the nouns, `planning` and `scheduler`
decide, `controller` and `agent` are the shells that act, `cluster` and `runtime` are the seams
to the store and to the processes, `api` and `cli` are how people speak to it.
"""


def installed_version() -> str:
    """Of this package; empty in a source tree that is not installed."""
    from importlib import metadata  # slow to import, and most processes need it not at all

    try:
        return metadata.version("orchestrator")
    except metadata.PackageNotFoundError:
        return ""

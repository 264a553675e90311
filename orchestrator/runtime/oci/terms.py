"""What a node has settled about its containers made of images, whoever asks for one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class OciTerms:
    """`runtime` and `conmon` are programs, by path or by name on the PATH. `run_dir` and the cgroup
    `cgroup_parent` are this agent's alone; what is in `run_dir` need not outlive a reboot.

    A container's log is `log_files` files of about `log_bytes` each. `init_program` is a static
    init for those that ask for one. `user_ids_from` is the node's user id that root is in a user
    namespace; the 65535 after it are the others'. `pids_limit` bounds who has no limit of its own,
    and `open_files` is the soft limit where nothing is said.
    """

    runtime: str
    run_dir: Path
    runtime_args: tuple[str, ...] = ()
    conmon: str = "conmon"
    cgroup_parent: str = "/orchestrator"
    log_bytes: int = 10_000_000
    log_files: int = 3
    allow_privileged: bool = False
    init_program: Path | None = None
    user_ids_from: int = 2_000_000_000
    pids_limit: int = 4096
    open_files: int = 1024

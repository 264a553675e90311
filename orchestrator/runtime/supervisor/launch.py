"""What a supervisor is told to run. Written by the agent, read by the supervisor."""

MARK = "ORC_CONTAINER_DIR"
"""A variable in the environment of all that runs in a container: it tells whose they are."""

ENTERED = "entered"
"""A file in a container's directory: the agent has started more in it than its own process."""


class Launch:
    """`env` has a variable `MARK`. `memory_bytes` limits virtual memory; 0 is no limit. There are
    `log_files` files of `log_bytes` each at most.

    `taken_over` is the pid and start time of a container's process that runs already under a
    supervisor that has died; (0, 0) starts a new one.
    """

    __slots__ = (
        "argv",
        "env",
        "log_bytes",
        "log_files",
        "memory_bytes",
        "open_files",
        "taken_over",
        "working_dir",
    )

    def __init__(
        self,
        argv: tuple[str, ...],
        env: dict[str, str],
        working_dir: str,
        *,
        memory_bytes: int,
        open_files: int,
        log_bytes: int,
        log_files: int,
        taken_over: tuple[int, int] = (0, 0),
    ) -> None:
        self.argv = argv
        self.env = env
        self.working_dir = working_dir
        self.memory_bytes = memory_bytes
        self.open_files = open_files
        self.log_bytes = log_bytes
        self.log_files = log_files
        self.taken_over = taken_over

    def pack(self) -> bytes:
        """NUL-separated, as in /proc/<pid>/cmdline: `json` would take longer than all the rest."""
        numbers = (self.memory_bytes, self.open_files, self.log_bytes, self.log_files)
        fields = [str(number) for number in (*numbers, *self.taken_over, len(self.argv))]
        fields += [self.working_dir, *self.argv]
        fields += [f"{name}={value}" for name, value in self.env.items()]
        return "\0".join(fields).encode("utf-8", "surrogateescape")

    @classmethod
    def unpack(cls, packed: bytes) -> "Launch":
        fields = packed.decode("utf-8", "surrogateescape").split("\0")
        memory, open_files, log_bytes, log_files, pid, start, argc = map(int, fields[:7])
        return cls(
            argv=tuple(fields[8 : 8 + argc]),
            env=dict(pair.split("=", 1) for pair in fields[8 + argc :]),
            working_dir=fields[7],
            memory_bytes=memory,
            open_files=open_files,
            log_bytes=log_bytes,
            log_files=log_files,
            taken_over=(pid, start),
        )


def read_launch(fd: int) -> Launch:
    with open(fd, "rb", closefd=False) as file:
        return Launch.unpack(file.read())

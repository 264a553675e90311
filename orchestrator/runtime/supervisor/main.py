"""The supervisor: one small process for each container, which outlives the agent.

Theory of operation
-------------------
It is the parent of the container's process, so that somebody is always there to take the exit
code; the agent may die and come back. It tells by files in the container's directory and is
told by signals: SIGUSR1 means SIGTERM to the container's process group, SIGUSR2 means SIGKILL.
As the parent it cannot hit a stranger with the same pid. Other requests to end are passed over.

Being subreaper, it inherits whatever daemonises, and kills it when the container's own process
has ended. What the agent has started in the container since (`entering`) is not below it: that it
knows by a variable that all processes of a container inherit. It exits when nothing is left and
`exit.json` is on disk, in that order.

The container writes to FIFOs that it holds open for reading too. If a supervisor is killed, its
container therefore gets no SIGPIPE; it waits when the FIFO is full, until a second supervisor,
started by the agent to *take over*, goes on reading. What that one cannot have is the exit code,
for it is not the parent. What has daemonised before it knows by that variable too; who has both
left the session and cleared the environment gets away. Of the output it misses what the first one
had read and not yet written when it was killed, and the last words of a container that ends before
the agent has noticed.
"""

import os
import select

from orchestrator.runtime.supervisor.launch import ENTERED, MARK, Launch, read_launch
from orchestrator.runtime.supervisor.log import Log
from orchestrator.runtime.supervisor.processes import (
    children,
    kill_all,
    kill_strays,
    set_for_itself,
    start_ticks,
)
from orchestrator.runtime.supervisor.records import ExitFile, write_identity
from orchestrator.runtime.supervisor.signals import (
    KILL,
    SIGCHLD,
    SIGKILL,
    SIGTERM,
    TERMINATE,
    hear_signals,
    send,
)
from orchestrator.runtime.supervisor.start import NotStarted, Starting, keep_only

PR_SET_CHILD_SUBREAPER = 36
CHUNK_BYTES = 64 * 1024


class Supervisor:
    """Works in the container's directory. `ready` is a pipe, closed when the start is over.

    `stdout` and `stderr` are the FIFOs' ends to read from, without waiting. They are open for
    writing too, so that they do not close when the container closes its own.
    """

    def __init__(self, launch: Launch, ready: int, stdout: int, stderr: int) -> None:
        self._launch = launch
        self._ready = ready
        self._streams = {stdout: "stdout", stderr: "stderr"}
        self._pid, self._start = launch.taken_over
        self._is_parent = not self._pid
        self._session = 0
        self._has_ended = False
        self._status: int | None = None
        self._failure: NotStarted | None = None
        self._log = Log(launch.log_bytes, launch.log_files)
        self._exit_file = ExitFile()
        self._signals = hear_signals()
        self._poll = select.poll()
        for fd in (self._signals, *self._streams):
            self._poll.register(fd, select.POLLIN)

    def run(self) -> None:
        write_identity("supervisor.json", os.getpid())
        if self._is_parent:
            self._begin()
        else:
            self._take_over()
        if self._failure is None:
            os.close(self._ready)
            self._watch()
        self._kill_the_rest()
        for fd in self._streams:
            while self._pump(fd):
                continue
        self._exit_file.write(self._status, self._failure)

    def _begin(self) -> None:
        outputs = [os.open(f"{name}.fifo", os.O_RDWR) for name in self._streams.values()]
        try:
            starting = Starting(self._launch, *outputs)
            self._pid = starting.pid
            write_identity("pid.json", self._pid)
            starting.go_on()
        except NotStarted as failure:
            self._failure = failure
        for fd in outputs:
            os.close(fd)

    def _take_over(self) -> None:
        try:
            pidfd = os.pidfd_open(self._pid)
        except ProcessLookupError:
            self._has_ended = True
            return
        if start_ticks(self._pid) != self._start:  # asked after opening: it cannot change now
            self._has_ended = True
            return
        self._session = self._pid
        self._poll.register(pidfd, select.POLLIN)

    def _watch(self) -> None:
        while not self._has_ended:
            for fd, _ in self._poll.poll():
                if fd in self._streams:
                    self._pump(fd)
                elif fd == self._signals:
                    self._obey(os.read(fd, 512))
                else:
                    self._has_ended = True

    def _obey(self, signals: bytes) -> None:
        if SIGCHLD in signals:
            self._reap(os.WNOHANG)
        for asked, sent in ((TERMINATE, SIGTERM), (KILL, SIGKILL)):
            if asked in signals and not self._has_ended:
                send(sent, -self._pid)

    def _reap(self, options: int) -> bool:
        """Take what has ended. False when there is no child any more."""
        try:
            while (ended := os.waitpid(-1, options))[0]:
                if ended[0] == self._pid:
                    self._has_ended, self._status = True, ended[1]
                options = os.WNOHANG
        except ChildProcessError:
            return False
        return True

    def _kill_the_rest(self) -> None:
        """Kill what the container's process has left behind, until nothing of it runs."""
        while self._reap(os.WNOHANG):
            kill_all(children(os.getpid()))
            self._reap(0)
        if not self._is_parent or os.path.exists(ENTERED):
            kill_strays(self._session, f"{MARK}={self._launch.env[MARK]}")

    def _pump(self, fd: int) -> bool:
        """False when there is nothing to read."""
        try:
            chunk = os.read(fd, CHUNK_BYTES)
        except BlockingIOError:
            return False
        self._log.write(self._streams[fd], chunk)
        return True


def main(directory: str, *inherited: str) -> None:
    """The numbers of what the agent leaves to us: a locked file, held for as long as we live,
    the pipe to close when ready, and the FIFOs."""
    lock, ready, stdout, stderr = (int(number) for number in inherited)
    keep_only([lock, ready, stdout, stderr])
    launch = read_launch(0)
    os.chdir(directory)
    set_for_itself(PR_SET_CHILD_SUBREAPER, 1)
    Supervisor(launch, ready, stdout, stderr).run()

"""The way into a container for a command beside its own: a process that becomes that command.

It is the agent's child, with the container's environment, directory and limits. The command dies
with the agent. What it leaves behind when it ends by itself stays until the container ends; the
supervisor finds it by its environment, as it finds all else that is not below it.
"""

import os

from orchestrator.runtime.supervisor.launch import read_launch
from orchestrator.runtime.supervisor.processes import set_for_itself
from orchestrator.runtime.supervisor.signals import SIGKILL
from orchestrator.runtime.supervisor.start import become, keep_only

PR_SET_PDEATHSIG = 1


def main(told: str, teller: str, agent: str) -> None:
    """The numbers of what the agent leaves to us: the launch, and the pipe for a failure."""
    keep_only([int(told), int(teller)])
    launch = read_launch(int(told))
    set_for_itself(PR_SET_PDEATHSIG, SIGKILL)
    if os.getppid() != int(agent):
        os._exit(127)  # it died before it could have taken us along
    if os.isatty(0):
        _own_the_terminal()
    become(launch, int(teller))


def _own_the_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)

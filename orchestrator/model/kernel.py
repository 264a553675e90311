"""Names that the Linux kernel has for what a container may do and use."""

from __future__ import annotations

_CAPABILITIES = """
AUDIT_CONTROL AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND BPF CHECKPOINT_RESTORE CHOWN DAC_OVERRIDE
DAC_READ_SEARCH FOWNER FSETID IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE
MKNOD NET_ADMIN NET_BIND_SERVICE NET_BROADCAST NET_RAW PERFMON SETFCAP SETGID SETPCAP SETUID SYSLOG
SYS_ADMIN SYS_BOOT SYS_CHROOT SYS_MODULE SYS_NICE SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_RESOURCE
SYS_TIME SYS_TTY_CONFIG WAKE_ALARM
"""
CAPABILITIES = frozenset(_CAPABILITIES.split())
"""Of capabilities(7)."""

_HOST_CAPABILITIES = """
AUDIT_CONTROL BPF DAC_READ_SEARCH MAC_ADMIN MAC_OVERRIDE PERFMON SYSLOG SYS_ADMIN SYS_BOOT
SYS_MODULE SYS_RAWIO SYS_TIME
"""
HOST_CAPABILITIES = frozenset(_HOST_CAPABILITIES.split())
"""Those that no namespace but a user namespace holds in: who has one of them can do to the node
what a privileged container can, or near it."""

_ULIMITS = """
as core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack
"""
ULIMITS = frozenset(_ULIMITS.split())
"""Of setrlimit(2)."""

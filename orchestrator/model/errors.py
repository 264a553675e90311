"""Errors of the domain. Their text is one sentence for the person who meets it.

OrchestrationError
├── NodeNotFound        no node of that name: look at `orc get nodes`.
├── WorkloadNotFound    no workload (or instance of one) of that name.
├── RuntimeError        the container runtime could not do it on that node.
├── SchedulingError     no placement can be decided, whatever the state of the cluster.
├── ClusterError        membership: a name already in use, a node that may not join.
├── StateError          the state has moved, or is not one in which this may be asked: read again.
├── ConfigError         a manifest or a setting is wrong: fix the input.
├── NetworkError        a peer (node agent, API server) cannot be reached: try later.
└── InternalError       a bug of ours.
"""

from __future__ import annotations


class OrchestrationError(Exception):
    """Base of the domain's errors."""


class NodeNotFound(OrchestrationError):
    pass


class WorkloadNotFound(OrchestrationError):
    pass


class RuntimeError(OrchestrationError):  # noqa: A001 - the word list's name for it
    pass


class SchedulingError(OrchestrationError):
    pass


class ClusterError(OrchestrationError):
    pass


class StateError(OrchestrationError):
    pass


class ConfigError(OrchestrationError):
    pass


class NetworkError(OrchestrationError):
    pass


class InternalError(OrchestrationError):
    pass

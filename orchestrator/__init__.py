"""A highly available container orchestrator on etcd.

Desired in, observed in, plan out, commit: `model` holds the nouns, `planning` and `scheduler`
decide, `controller` and `agent` are the shells that act, `cluster` and `runtime` are the seams
to the store and to the processes, `api` and `cli` are how people speak to it.
"""

"""Nouns: workloads, instances, nodes, their keys and records. Pure: no time, no luck, no I/O."""

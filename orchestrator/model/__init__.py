"""Nouns: workloads, instances, nodes, their keys and records. Pure: no clock, no chance, no I/O."""

"""Care of etcd: its room, its history, its backups, and what to do when it is in need.

Decisions are pure and small; acts speak to etcd directly, for they are needed most when no
controller can do anything.
"""

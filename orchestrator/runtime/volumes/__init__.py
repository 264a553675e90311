"""The volumes of a node's instances: node paths, memory, directories kept for a slot, and NFS."""

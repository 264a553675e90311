"""The network of a node: a namespace and an address for each instance, and host ports to it."""

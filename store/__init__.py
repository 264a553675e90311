"""A typed, fenced, watchable store on etcd. It knows nothing of containers."""

"""The store on a real etcd, by its documented v3 API over grpc."""

from store.etcd.client import EtcdStore
from store.etcd.tls import Tls

__all__ = ["EtcdStore", "Tls"]

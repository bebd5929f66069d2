"""Revisions in memory: what etcd's mvcc package is, without a disk. Synchronous, no I/O, no clock."""

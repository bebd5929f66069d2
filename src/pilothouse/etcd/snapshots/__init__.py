"""Copies of a store in etcd's own format: what `etcdctl snapshot` writes and reads.

    rows      one version of a key as a row of etcd's `key` bucket, and back
    bbolt     a bbolt database as a file: written in one go, or read
    file      the file around it: written whole or not at all, its checksum, its refusal when damaged

It is not a way to run a store: nothing here changes a database in place.
"""

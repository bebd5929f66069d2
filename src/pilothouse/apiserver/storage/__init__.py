"""Objects in the store: keys, codec, watch cache. The only room that sees `etcd`."""

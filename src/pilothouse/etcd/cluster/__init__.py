"""etcd on more than one machine: the contract over a real etcd cluster, its members, and one that is run for you."""

"""`pilothouse etcd`: the store as a service, and what an operator does with any etcd."""

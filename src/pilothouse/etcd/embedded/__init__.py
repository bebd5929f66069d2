"""The store of one machine: MVCC in memory over a log in SQLite (or over none, for ephemeral clusters)."""

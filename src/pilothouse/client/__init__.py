"""How components talk to the API server: client, informers, leader election, events.

Two transports, one contract: HTTPS for a component that runs alone, in-process for `pilothouse up`. Not a
public SDK: people who write programs use their own client library.
"""

"""gRPC for a server, on asyncio: HTTP/2 frames, streams with flow control, calls.

    server.py      all connections of one server
    connection.py  one client: frames in and out, windows, limits
    stream.py      one call's way through it: messages in, messages out, status
    call.py        what a handler sees, and which handler it is
    frames.py headers.py   bytes

What it is not: a general HTTP/2 server. It answers gRPC only (HTTP/1.1 clients find the plain pages), pushes nothing
and has no priorities. Why it is ours: docs/decisions/0052-grpc-served-without-grpcio.md.
"""

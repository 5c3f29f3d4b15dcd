"""WebSockets: one ``Socket`` for handlers and clients, the handshake, and three kinds of peer.

A peer is a connection, an ASGI server, or the other end of a pair in the same process."""

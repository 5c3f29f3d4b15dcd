"""WebSockets: one Socket for handlers and clients, the handshake, and three kinds of peer.

A peer is a connection, an ASGI application server, or the other end in this process."""

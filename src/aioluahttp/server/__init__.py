"""The server of `listen`: sockets, connections, and requests and responses on the wire."""

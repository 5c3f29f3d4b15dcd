"""Requests of a server sent on to another origin: `forward` and `proxy`, WebSockets included."""

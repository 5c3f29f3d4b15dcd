"""Send one request: over a pooled connection, by a session, or to a handler in this process."""

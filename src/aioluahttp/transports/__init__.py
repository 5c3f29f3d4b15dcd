"""One request sent: over a pooled connection, by a session, or to a handler in this process."""

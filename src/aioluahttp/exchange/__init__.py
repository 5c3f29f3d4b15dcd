"""One request answered by a handler, whatever the engine."""

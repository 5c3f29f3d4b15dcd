"""Servers that are measured: each module has ``serve(port, loop)``, which blocks."""

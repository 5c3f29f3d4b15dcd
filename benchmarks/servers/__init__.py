"""Servers under test: each module has ``serve(port, loop)``, which blocks."""

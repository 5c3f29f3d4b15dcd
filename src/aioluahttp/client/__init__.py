"""The HTTP client: defaults, redirects, deadlines, downloads, and a client per event loop."""

"""The reverse proxy: `forward` and `proxy` send requests on to an origin, also WebSockets."""

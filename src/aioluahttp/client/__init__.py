"""What is sent: defaults, redirects, deadlines and downloads; a client for each event loop."""

"""Bodies as bytes: charsets, chunks, streams, events, content codings and forms.

Nothing here knows tables or connections.
"""

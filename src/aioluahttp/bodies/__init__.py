"""Bytes and pieces of bodies: text and charsets, chunks, streams, events, content codings, forms.

Knows no table and no connection."""

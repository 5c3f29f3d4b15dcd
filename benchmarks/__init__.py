"""Measure the library against its peers, in one run; README.md says how."""

"""Benchmarks of aioluahttp against other libraries, in one run; README.md says how they work."""

"""Probes: each measures one thing about a cell and returns a Measurement."""

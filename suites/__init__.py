"""Suites: tables of cells, the probes to run on them and the printed numbers they answer to."""

"""Studies: cells, suites, the runner that measures them and the records it keeps."""

"""`orc`, as people use it: a client of the HTTP API and nothing else."""

"""Benchmark of lrnb beside its peers: attacks, training, metrics, and growth with the problem."""

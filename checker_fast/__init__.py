"""The accelerated kernel of the checker: `crown-fp-1` and `crown-fp-2` by exact float64 arithmetic.  NumPy only."""

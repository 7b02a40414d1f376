"""The accelerated kernel of the checker: the rule `crown-fp-1` by exact float64 arithmetic.  NumPy only."""

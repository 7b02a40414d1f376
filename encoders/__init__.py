"""Queries as linear models, in no solver's terms, and the adapters to solvers: the only home of solver imports."""

"""Suites of instances, decided one process each, with a store that survives what happens to the processes."""

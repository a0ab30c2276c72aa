"""Measures Lockstep beside plain Dramatiq on one server in one run; ``docs/benchmark.md`` explains it."""

"""Measurements behind docs/results: `python -m tests.benchmarks NAME...` measures and writes the pages again.

Every module named in `__main__.PAGES` measures one page through the public functions that a user calls, with default
options wherever that is possible, and records what came out, misses included.
"""

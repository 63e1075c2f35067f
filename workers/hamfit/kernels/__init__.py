"""Compiled loops: each with a plain NumPy twin in the tests."""

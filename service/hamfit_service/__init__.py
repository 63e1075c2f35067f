"""What stands around the library: the command line, and the clusters on which fits run.

This package imports `hamfit`; `hamfit` never imports this package.
"""

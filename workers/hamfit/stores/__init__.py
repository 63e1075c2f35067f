"""Zarr stores on disk: written whole or not at all, checked byte by byte when read."""

"""Configuration of Sphinx for the pages in this folder."""

from __future__ import annotations

import hamfit

project = "hamfit"
author = "the hamfit authors"
copyright = "2026, the hamfit authors"
version = release = hamfit.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.mathjax"]
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
autodoc_member_order = "bysource"
autodoc_typehints = "signature"

html_theme = "alabaster"
html_theme_options = {"description": "Hamiltonians from trajectories in one linear solve", "fixed_sidebar": True}

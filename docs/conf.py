"""Settings of the documentation."""

import re

import abpnet

project = "abpnet"
author = "The abpnet developers"
release = abpnet.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
exclude_patterns = ["_build"]
autodoc_typehints = "none"


def setup(app):
    """Shapes such as (n, *shape) are no emphasis."""

    def escape(app, what, name, obj, options, lines):
        lines[:] = [re.sub(r"\*(?=\w)", r"\\*", line) for line in lines]

    app.connect("autodoc-process-docstring", escape)

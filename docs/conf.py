"""Settings of the documentation."""

import re

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

import abpnet

project = "abpnet"
author = "The abpnet developers"
release = abpnet.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "abpnet"
# Formulas become MathML while the pages are built, by docutils, which Sphinx stands on: browsers draw it themselves.
# MathJax and KaTeX would be fetched from elsewhere by whoever reads, or lie here as megabytes of scripts and fonts.
html_math_renderer = "mathml"
exclude_patterns = ["_build"]
autodoc_typehints = "none"


def write_formula(translator, node):
    """LaTeX in, MathML out; what docutils cannot read is a warning, and with `-W` an error."""
    is_block = isinstance(node, nodes.math_block)
    try:
        formula = tex2mathml(node.astext(), as_block=is_block)
    except MathError as error:
        logging.getLogger(__name__).warning("formula: %s", error, location=node)
        formula = translator.encode(node.astext())
    translator.body.append(f'<div class="math">{formula}</div>' if is_block else formula)
    raise nodes.SkipNode


def setup(app):
    """Formulas as MathML; shapes such as (n, *shape) are no emphasis."""

    def escape(app, what, name, obj, options, lines):
        lines[:] = [re.sub(r"\*(?=\w)", r"\\*", line) for line in lines]

    app.connect("autodoc-process-docstring", escape)
    app.add_html_math_renderer("mathml", (write_formula, None), (write_formula, None))

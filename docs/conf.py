"""Sphinx: the documentation of veridnet. Build it with scripts/docs.

The API reference, the tables of port keys and drop reasons, and the commands' help are made from
the installed package, so that they cannot differ from it.
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent

# The source folder veridnet/ must not shadow the installed package.
sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != HERE.parent]
sys.path.insert(0, str(HERE / "_ext"))

from pygments.lexers.special import TextLexer  # noqa: E402
from sphinx.highlighting import lexers  # noqa: E402

from veridnet import __version__  # noqa: E402

project = "veridnet"
author = "the veridnet authors"
project_copyright = author
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "docstrings",
    "tables",
]
exclude_patterns = ["_build", "_ext"]
nitpicky = False
# Docstrings write names in single backquotes.
default_role = "py:obj"

# GitHub draws it; here it stands as text.
lexers["mermaid"] = TextLexer()

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"veridnet {__version__}"
html_theme_options = {"source_directory": "docs/"}
html_show_sourcelink = False

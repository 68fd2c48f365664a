"""The settings of the documentation site: `make docs` builds it into docs/_build with Sphinx and MyST.

The source folder is the top of the repository, so that README, the pages of docs/ and the reports link to each other by
the same relative paths here and on a code host. Nothing is loaded from a network: the theme (furo) has its style, its
search and its pictures in the build, and has no fonts of its own.
"""

import os
import sys
from importlib.metadata import version as version_of
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_extensions"), str(HERE.parent / "src")]
os.environ["SOBENCH_CONF"] = str(HERE.parent / "conf")

project = "sobench"
author = "the authors of sobench"
project_copyright = ""
release = version = version_of("sobench")

extensions = ["myst_parser", "sphinx.ext.autodoc", "docstrings", "gallery", "settings", "repository"]
root_doc = "docs/index"
include_patterns = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/*.md",
    "reports/README.md",
    "reports/**/report.md",
    "reports/**/tuning.md",
]
exclude_patterns = [".git", ".venv", "build", "dist", "docs/_*", "reports/demo", "runs", "src", "tests"]
templates_path = ["_templates"]

# A type in a signature has to be on the page of the API. Types of torch, numpy and Python are not looked up (that needs
# a network), nor are those that a user never makes.
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(?!sobench\.).*"),
    ("py:class", r"sobench\.objective\.(objective|forward_pass|complex_oracles|network|layers\.calls)\.\w+"),
    ("py:class", r"sobench\.(config\.run\.Run|results\.row_table\.Table|system\.heartbeat\.Holder)"),
]

smartquotes = False
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
add_module_names = False

html_theme = "furo"
html_title = f"sobench {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_additional_pages = {"index": "start.html"}
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False

"""How Sphinx builds the documentation: `sphinx-build -W docs site`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

import tinyflux as flux

project = "tinyflux"
author = "the tinyflux authors"
copyright = "2026, the tinyflux authors"  # noqa: A001
version = release = flux.__version__

extensions = [
    "docstrings",
    "mathml",
    "myst_parser",
    "narrow",
    "reference",
    "reports",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["extensions", "gallery"]
nitpicky = True

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say what arguments are, with shapes
autodoc_preserve_defaults = True
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = "tinyflux"
html_static_path = ["static"]
html_css_files = ["tinyflux.css"]
html_math_renderer = "mathml"
html_copy_source = False
smartquotes = False  # code stands in sentences
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "pictures",
    "download_all_examples": False,
    "min_reported_time": 1e9,
    "show_memory": False,
    "show_signature": False,
    "remove_config_comments": True,
    "copyfile_regex": "",
    "write_computation_times": False,
    "abort_on_example_error": True,
    "within_subsection_order": "gallery_order.ByTopic",
}

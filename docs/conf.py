"""The documentation site: ``nox -s docs`` builds it into ``site/``.

The source folder is the root of the repository, so that README.md, CONTRIBUTING.md and the pages in
``docs/`` link to each other as they do everywhere else.
"""

import symbucket

project = "symbucket"
author = "The symbucket developers"
project_copyright = author
version = release = symbucket.__version__

root_doc = "docs/index"
include_patterns = ["*.md", "docs/**"]
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = f"symbucket {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]

myst_heading_anchors = 3  # links such as CONTRIBUTING.md#add-a-pass

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "groupwise"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True

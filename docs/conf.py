"""Settings of Sphinx; ``python tools/build_docs.py`` builds the pages and checks their links."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from pygments.lexer import RegexLexer
from pygments.token import Comment, Generic, Name, Text

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS), str(DOCS.parent)]

import pages  # noqa: E402

import pynst  # noqa: E402

project = "PyNST"
author = "The PyNST authors"
copyright = "The PyNST authors"
version = release = pynst.__version__

extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc"]
myst_enable_extensions = ["colon_fence", "dollarmath", "attrs_inline"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
default_role = "pynst"

autodoc_typehints = "none"  # the docstrings say the types, with their shapes and units
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

smartquotes = False  # two hyphens are those of an option

html_theme = "pydata_sphinx_theme"
html_title = "PyNST"
html_static_path = ["_static"]
html_css_files = ["pynst.css"]
html_show_sourcelink = False
html_copy_source = False
html_math_renderer = "mathml"
html_theme_options = {
    "logo": {"text": "PyNST"},
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "header_links_before_dropdown": 6,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_sidebars: dict[str, list[str]] = {"**": []}  # thirteen pages: the bar above lists them


class Console(RegexLexer):
    """Commands and what they say; each word stands by itself, so that no line breaks within it."""

    name = "console"
    tokens = {  # noqa: RUF012
        "root": [
            (r"(?m)^\$ ", Generic.Prompt, "command"),
            (r".*\n", Generic.Output),
        ],
        "command": [
            (r"\n", Text, "#pop"),
            (r"#.*", Comment),
            (r"\S+", Name),
            (r"[^\S\n]+", Text),
        ],
    }


def name_role(
    _role: str, rawtext: str, text: str, lineno: int, inliner: Any, *_: Any
) -> tuple[list[nodes.Node], list[nodes.Node]]:
    """What stands in single backticks: a link where it is a public name, code otherwise."""
    from sphinx import addnodes

    name = text.removeprefix("pynst.")
    code = nodes.literal(rawtext, text, classes=["xref", "py"])
    if name.split(".")[0] not in pynst.__all__ or "." in name:
        return [nodes.literal(rawtext, text)], []
    link = addnodes.pending_xref(
        rawtext, code, refdomain="py", reftype="obj", reftarget=f"pynst.{name}",
        refexplicit=True, refwarn=True, refdoc=inliner.document.settings.env.docname,
    )  # fmt: skip
    link.line = lineno
    return [link], []


def _inline_math(translator: Any, node: nodes.math) -> None:
    translator.body.append(convert(node.astext()))
    raise nodes.SkipNode


def _block_math(translator: Any, node: nodes.math_block) -> None:
    translator.body.append(f'<div class="equation">{convert(node.astext(), display="block")}</div>')
    raise nodes.SkipNode


def setup(app: Any) -> None:
    """Write the generated pages, and let browsers set the equations: no script, no network."""
    app.add_lexer("console", Console)
    app.add_role("pynst", name_role)
    app.add_html_math_renderer("mathml", (_inline_math, None), (_block_math, None))
    pages.write_all(DOCS / "generated")

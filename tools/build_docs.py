"""Build the documentation, and check every link within it: ``python tools/build_docs.py``.

It needs what ``pip install --group docs`` installs. Nothing is fetched: links that leave the pages
are not followed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Page(HTMLParser):
    """What a page refers to, and what can be referred to in it."""

    targets: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take the addresses and the anchors of one element."""
        for name, value in attrs:
            if value is None:
                continue
            if name == "id" or (tag == "a" and name == "name"):
                self.anchors.add(value)
            elif name in ("href", "src"):
                self.targets.append(value)


def broken_links(site: Path) -> Iterator[str]:
    """Each link within the pages whose file or anchor does not exist, as "page: link"."""
    files = [path.resolve() for path in sorted(site.rglob("*.html"))]
    # In _static lie templates of the theme, which are no pages.
    pages = {path: _read(path) for path in files if "_static" not in path.parts}
    for path, page in pages.items():
        for target in page.targets:
            address = urlsplit(target)
            if address.scheme or address.netloc:
                continue
            file = (path.parent / unquote(address.path)).resolve() if address.path else path
            anchor = unquote(address.fragment)
            if not file.is_file() or (anchor and file in pages and _lacks(pages[file], anchor)):
                yield f"{path.relative_to(site.resolve())}: {target}"


def _read(path: Path) -> Page:
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def _lacks(page: Page, anchor: str) -> bool:
    return anchor not in page.anchors


def main() -> int:
    """Build and check; 0 where there is nothing to complain of."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("site", nargs="?", type=Path, default=ROOT / "build" / "docs")
    site = parser.parse_args().site
    options = ["-W", "-n", "--keep-going", "-q", "-E", "-b", "html", "-d", f"{site}-cache"]
    code = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, ROOT / "docs", site]
    ).returncode
    if code:
        return code
    broken = sorted(set(broken_links(site)))
    for each in broken:
        sys.stderr.write(f"broken link: {each}\n")
    sys.stdout.write(f"{site / 'index.html'}\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())

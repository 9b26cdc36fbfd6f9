"""Make the README's own links absolute: ``python tools/pypi_readme.py README.md OWNER/NAME REF``.

PyPI and napari's hub show the README away from its files, where relative links lead nowhere and
pictures stay empty. A release runs this before it builds; REF is its tag.
"""

import re
import sys
from pathlib import Path

_LINK = re.compile(r"(?P<picture>!?)\[(?P<text>[^\]]*)\]\((?P<to>[^)\s]+)\)")


def absolute(text: str, repository: str, ref: str) -> str:
    """``text`` with its links to files of the repository led to GitHub, pictures to their bytes."""

    def led(link: re.Match[str]) -> str:
        to = link["to"]
        if re.match(r"[a-z]+:|#", to):
            return link[0]
        kind = "raw" if link["picture"] else "blob"
        return (
            f"{link['picture']}[{link['text']}](https://github.com/{repository}/{kind}/{ref}/{to})"
        )

    return _LINK.sub(led, text)


def main() -> None:
    """Rewrite the file named on the command line."""
    path, repository, ref = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    text = path.read_text(encoding="utf-8")
    path.write_text(absolute(text, repository, ref), encoding="utf-8")


if __name__ == "__main__":
    main()

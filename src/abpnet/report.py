"""A self-contained HTML page about one run: pictures inside, nothing loaded from anywhere."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

__all__ = ["audio", "brief", "folded", "paragraph", "picture", "preformatted", "table", "write_report"]

# Bytes of a sound that still goes into the page.
LARGEST_AUDIO = 4_000_000
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff; }
body { max-width: 60rem; margin: auto; padding: 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2rem; }
img { max-width: 100%; height: auto; } figure { margin: 1rem 0; overflow-x: auto; }
figcaption { color: #555; font-size: .9rem; }
img.pixels { image-rendering: pixelated; }
table { border-collapse: collapse; } th, td { padding: .2rem .8rem; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; } tr.ours { font-weight: 600; }
.scroll { overflow-x: auto; } pre { background: #f4f4f4; padding: .6rem; overflow-x: auto; font-size: .85rem; }
summary { cursor: pointer; }
@media (max-width: 45rem) { img { max-width: max(100%, 42rem); } th, td { padding: .2rem .4rem; } }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #181818; } th, td { border-color: #444; }
figcaption { color: #aaa; } pre { background: #242424; } }
@media print { body { max-width: none; padding: 0; } img { max-width: 100%; } figure, table { break-inside: avoid; } }
"""


def paragraph(text: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{escape(text)}</p>"


def preformatted(text: str) -> str:
    """Plain text in lines as they are."""
    return f"<pre>{escape(text)}</pre>"


def folded(title: str, part: str) -> str:
    """A part that is shown once its title is clicked."""
    return f"<details><summary>{escape(title)}</summary>{part}</details>"


def picture(path: Path, caption: str, pixelated: bool = False) -> str:
    """A PNG or GIF file, embedded.

    Args:
        path: The file.
        caption: Plain text below it.
        pixelated: Enlarge without smoothing.
    """
    content = base64.b64encode(path.read_bytes()).decode()
    style = ' class="pixels"' if pixelated else ""
    return (
        f'<figure><img{style} alt="{escape(caption, quote=True)}" src="data:image/{path.suffix[1:]};base64,{content}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def audio(path: Path, caption: str, page: Path | None = None) -> str:
    """A player of a WAV file, embedded if it is small; of one that stays beside the page if it is not.

    Args:
        path: The file.
        caption: Plain text below it.
        page: Folder of the page; that of the file by default.
    """
    if path.stat().st_size > LARGEST_AUDIO:
        source = quote(path.relative_to(page or path.parent).as_posix())
    else:
        source = f"data:audio/wav;base64,{base64.b64encode(path.read_bytes()).decode()}"
    return f'<figure><audio controls src="{source}"></audio><figcaption>{escape(caption)}</figcaption></figure>'


def brief(value: Any) -> str:
    """A value as tables show it: None as a dash, numbers with a fraction to four digits."""
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def table(rows: Sequence[Mapping[str, Any]], ours: str | None = None) -> str:
    """A table with one line per row.

    Args:
        rows: Columns by name, the same in each row; None is shown as a dash.
        ours: First cell of the rows to set in bold.
    """
    names = list(rows[0])
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = "".join(
        f"<tr{' class=ours' if row[names[0]] == ours else ''}>"
        + "".join(f"<td>{escape(brief(row[name]))}</td>" for name in names)
        + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def write_report(path: Path, title: str, sections: Mapping[str, Sequence[str]]) -> None:
    """Write the page.

    Args:
        path: HTML file to write.
        title: Its heading.
        sections: Parts made by the functions above, by heading.
    """
    body = "".join(f"<h2>{escape(heading)}</h2>{''.join(parts)}" for heading, parts in sections.items())
    path.write_text(
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>'
        f"<body><h1>{escape(title)}</h1>{body}</body></html>\n",
        encoding="utf-8",
        errors="backslashreplace",
    )

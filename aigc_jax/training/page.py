"""The HTML of reports: pieces of a self-contained page, every text escaped. No scripts, links or fonts of others."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

STYLE = """
:root { --ink: #1d2329; --soft: #66707a; --line: #e3e7eb; --back: #f6f7f9; --card: #fff;
        --good: #1f7a44; --bad: #b3361f; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink);
       font: 14px/1.5 system-ui, "Segoe UI", Helvetica, Arial, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 25px; margin: 0; letter-spacing: -.3px; }
h1 small { color: var(--soft); font-weight: 400; font-size: 16px; }
h2 { font-size: 16px; margin: 34px 0 12px; } .lead { color: var(--soft); margin: 4px 0 18px; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 12px 14px; }
.card b { display: block; font-size: 19px; font-weight: 600; overflow-wrap: anywhere; line-height: 1.3; }
.card span { color: var(--soft); font-size: 12px; }
.good b { color: var(--good); } .bad b { color: var(--bad); }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(330px, 1fr)); gap: 12px; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(190px, 1fr)); gap: 12px; }
.panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(400px, 1fr)); gap: 12px; align-items: start; }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 10px; }
figure img { width: 100%; display: block; } img.pixels { image-rendering: pixelated; } audio { width: 100%; }
figcaption { color: var(--soft); font-size: 12px; margin-top: 6px; }
pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; max-height: 340px; overflow: auto; font-size: 12px; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(330px, 1fr)); gap: 12px; align-items: start; }
.box { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 4px 14px; }
table { border-collapse: collapse; width: 100%; font-size: 13px; }
td, th { padding: 5px 10px 5px 0; text-align: left; vertical-align: top; overflow-wrap: anywhere; }
tr + tr td { border-top: 1px solid var(--line); } th { color: var(--soft); font-weight: 500; white-space: nowrap; }
td.number, th.number { text-align: right; }
td.number { font-variant-numeric: tabular-nums; }
"""
LONGEST_TEXT = 4000  # characters of a text sample that a report shows
LARGEST_SOUND = 4_000_000  # bytes of a sound that a report holds
_RIGHT = ' class="number"'
KINDS = {".png": "image/png", ".svg": "image/svg+xml", ".wav": "audio/wav"}


def document(title: str, body: Iterable[str]) -> str:
    """The whole page."""
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}<style>{STYLE}</style></head><body><main>\n'
        + "\n".join(part for part in body if part)
        + "\n</main></body></html>\n"
    )


def header(title: str, small: str, lead: str) -> str:
    """The first lines of the page."""
    return f'<h1>{escape(title)} <small>{escape(small)}</small></h1><p class="lead">{escape(lead)}</p>'


def section(title: str, kind: str, parts: Sequence[str]) -> str:
    """A heading over parts laid out as `charts`, `gallery`, `panels`, `cards` or `columns`; nothing without parts."""
    return f'<h2>{escape(title)}</h2><div class="{kind}">{"".join(parts)}</div>' if parts else ""


def card(value: str, label: str, kind: str = "") -> str:
    """A figure in large type over what it is; kind: "good", "bad" or neither."""
    return f'<div class="card {kind}"><b>{escape(value)}</b><span>{escape(label)}</span></div>'


def table(rows: Iterable[Sequence[Any]], head: Sequence[str] = ()) -> str:
    """Rows of cells; numbers stand to the right, and so does the heading of a column of them."""
    rows = [list(row) for row in rows]
    right = [bool(rows) and all(_is_number(row[i]) for row in rows) for i in range(len(head))]
    cells = (f"<th{_RIGHT if is_right else ''}>{escape(name)}</th>" for name, is_right in zip(head, right))
    lines = ["<tr>" + "".join(cells) + "</tr>"] if head else []
    lines += ["<tr>" + "".join(_cell(cell) for cell in row) + "</tr>" for row in rows]
    return f'<div class="box"><table>{"".join(lines)}</table></div>'


def picture(data: bytes, suffix: str, caption: str, pixels: bool = False) -> str:
    """An image held in the page itself. pixels: enlarge without smoothing."""
    kind = ' class="pixels"' if pixels else ""
    told = escape(caption)
    return f'<figure><img{kind} src="{_held(data, suffix)}" alt="{told}"><figcaption>{told}</figcaption></figure>'


def chart(svg: str) -> str:
    """A chart; as an image, so that the ids inside one SVG cannot meet those of another."""
    return f'<figure><img src="{_held(svg.encode(), ".svg")}" alt="chart"></figure>'


def sample_file(path: Path, caption: str) -> str:
    """A file of `samples/`: picture, text or sound."""
    if path.suffix == ".png":
        return picture(path.read_bytes(), ".png", caption, pixels=True)
    if path.suffix == ".wav":
        if path.stat().st_size > LARGEST_SOUND:
            return f"<figure><figcaption>{escape(f'{caption}: {path.name} is too long to hold')}</figcaption></figure>"
        held = _held(path.read_bytes(), ".wav")
        return f'<figure><audio controls src="{held}"></audio><figcaption>{escape(caption)}</figcaption></figure>'
    text = path.read_text(encoding="utf-8", errors="replace")
    shown = text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + " ..."
    return f"<figure><pre>{escape(shown)}</pre><figcaption>{escape(caption)}</figcaption></figure>"


def _held(data: bytes, suffix: str) -> str:
    return f"data:{KINDS[suffix]};base64,{base64.b64encode(data).decode()}"


def _cell(cell: Any) -> str:
    if not _is_number(cell):
        return f"<td>{escape(str(cell))}</td>"
    return f"<td{_RIGHT}>{cell:,}</td>" if isinstance(cell, int) else f"<td{_RIGHT}>{cell:.6g}</td>"


def _is_number(cell: Any) -> bool:
    return isinstance(cell, (int, float)) and not isinstance(cell, bool)

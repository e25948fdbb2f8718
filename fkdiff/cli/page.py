"""One self-contained HTML page: text, tables and pictures inside the file, nothing fetched, nothing run."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; border-bottom: 1px solid #ddd; }
table { border-collapse: collapse; } td, th { text-align: left; padding: .15rem .9rem .15rem 0; vertical-align: top; }
th { border-bottom: 1px solid #bbb; } img { max-width: 100%; image-rendering: pixelated; } figure { margin: 1rem 0; }
figcaption, .note { color: #666; font-size: .9rem; } pre { background: #f6f6f6; padding: .8rem; overflow-x: auto; }
"""


def text(content: object) -> str:
    """Whatever it holds, as text and nothing else."""
    return html.escape(str(content))


def paragraph(content: object, kind: str = "") -> str:
    """A paragraph."""
    return f'<p class="{kind}">{text(content)}</p>' if kind else f"<p>{text(content)}</p>"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table."""
    top = "".join(f"<th>{text(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def picture(png: bytes, caption: str) -> str:
    """A PNG picture, inside the page."""
    data = base64.b64encode(png).decode()
    described = text(caption)
    image = f'<img alt="{described}" src="data:image/png;base64,{data}">'
    return f"<figure>{image}<figcaption>{described}</figcaption></figure>"


def drawing(svg: str, caption: str) -> str:
    """An SVG drawing of our own, inside the page."""
    return f"<figure>{svg}<figcaption>{text(caption)}</figcaption></figure>"


def verbatim(content: str) -> str:
    """Text in fixed width."""
    return f"<pre>{text(content)}</pre>"


def page(title: str, sections: Sequence[tuple[str, Sequence[str]]]) -> str:
    """The page: a title and headed sections of parts made by the functions above."""
    body = "".join(f"<section><h2>{text(name)}</h2>{''.join(parts)}</section>" for name, parts in sections if parts)
    # The policy makes the promise binding: a browser runs and fetches nothing, whatever a part may hold.
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"<title>{text(title)}</title><style>{_STYLE}</style></head>"
        f"<body><h1>{text(title)}</h1>{body}</body></html>\n"
    )


def curves(series: dict[str, list[tuple[float, float]]], width: int = 720, height: int = 260) -> str:
    """Lines over steps, as SVG; the vertical axis is logarithmic where all values are positive and span a decade."""
    import math

    points = [p for line in series.values() for p in line]
    if not points:
        return ""
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    logarithmic = min(ys) > 0 and max(ys) > 10 * min(ys)
    level = (lambda y: math.log10(y)) if logarithmic else (lambda y: y)
    low, high = level(min(ys)), level(max(ys))
    left, right, top, bottom = 60, width - 10, 10, height - 30
    span_x, span_y = max(max(xs) - min(xs), 1e-12), max(high - low, 1e-12)

    def place(x: float, y: float) -> str:
        across = left + (x - min(xs)) / span_x * (right - left)
        return f"{across:.1f},{bottom - (level(y) - low) / span_y * (bottom - top):.1f}"

    colours = ("#1f6f8b", "#c0692f", "#4a7c3a", "#8b3a62")
    parts = []
    for k in range(5):
        value = low + k / 4 * (high - low)
        y = bottom - k / 4 * (bottom - top)
        label = f"{10**value if logarithmic else value:.3g}"
        parts.append(f'<line x1="{left}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="#e5e5e5"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end" font-size="11">{label}</text>')
        x = min(xs) + k / 4 * (max(xs) - min(xs))
        across = left + k / 4 * (right - left)
        parts.append(f'<text x="{across:.1f}" y="{height - 10}" text-anchor="middle" font-size="11">{x:.0f}</text>')
    for number, (name, line) in enumerate(series.items()):
        colour = colours[number % len(colours)]
        path = " ".join(place(x, y) for x, y in line)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts += [
            f'<circle cx="{p.split(",")[0]}" cy="{p.split(",")[1]}" r="2" fill="{colour}"/>' for p in path.split()
        ]
        label, y = text(name), top + 14 + 16 * number
        parts.append(
            f'<text x="{right - 6}" y="{y}" text-anchor="end" font-size="12" fill="{colour}">{text(name)}</text>'
        )
    return f'<svg viewBox="0 0 {width} {height}" width="100%" role="img">{"".join(parts)}</svg>'

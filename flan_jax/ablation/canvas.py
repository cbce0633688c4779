"""Figures as files and as parts of a page: one look, on paper and in the dark.

Drawn with matplotlib's own objects, never with pyplot, so nothing is left behind in the process; the same figure gives
the same bytes. A figure of several panels becomes a PNG and an SVG. On a page every panel stands alone, as inline SVG
whose colours are the page's variables and whose text is text.
"""

import dataclasses
import io
import os
import pathlib
import re
import textwrap
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from flan_jax.evaluation.page import Markup, tag

INK, SOFT, RULE, CARD = '#1f2328', '#667079', '#e3e5e8', '#ffffff'
SERIES = ('#0072b2', '#d55e00', '#009e73', '#b8558c')  # Okabe and Ito's, the last one darker for white paper
_ON_A_PAGE = {INK: '--text', SOFT: '--soft', RULE: '--rule', CARD: '--card'} | {
    colour: f'--s{i}' for i, colour in enumerate(SERIES)
}
_COLUMNS = 3  # of panels in a file
_DPI = 160  # of a PNG; a panel of 4.2 inches is 672 pixels wide
_STYLE = {
    'axes.axisbelow': True,
    'axes.edgecolor': SOFT,
    'axes.grid': True,
    'axes.labelcolor': SOFT,
    'axes.labelsize': 9,
    'axes.linewidth': 0.8,
    'axes.prop_cycle': "cycler('color', ['#0072b2'])",
    'axes.spines.right': False,
    'axes.spines.top': False,
    'axes.titlecolor': INK,
    'axes.titlelocation': 'left',
    'axes.titlesize': 10,
    'axes.titleweight': 'bold',
    'figure.constrained_layout.h_pad': 0.09,
    'figure.constrained_layout.w_pad': 0.09,
    'figure.facecolor': CARD,
    'font.family': 'DejaVu Sans',  # comes with matplotlib, so the layout is the same everywhere
    'font.size': 9,
    'grid.color': RULE,
    'grid.linewidth': 0.8,
    'legend.fontsize': 9,
    'legend.frameon': False,
    'path.simplify': False,
    'svg.fonttype': 'none',
    'text.color': INK,
    'text.parse_math': False,  # a dollar in a name is a dollar
    'xtick.color': SOFT,
    'ytick.color': SOFT,
    'xtick.labelcolor': INK,
    'ytick.labelcolor': INK,
    'xtick.labelsize': 9,
    'ytick.labelsize': 9,
}


@dataclasses.dataclass(frozen=True)
class Panel:
    """One plot.

    Attributes:
      title: above it.
      size: inches, with title and axes.
      draw: puts everything on the `axes` it is given.
    """

    title: str
    size: tuple[float, float]
    draw: Callable[..., None]


@dataclasses.dataclass(frozen=True)
class Figure:
    """Panels that belong together.

    Attributes:
      name: of its files, without the ending.
      title: what it shows.
      panels: from left to right, then down.
      legend: marks with their meaning, `matplotlib` handles made when it is drawn.
    """

    name: str
    title: str
    panels: tuple[Panel, ...]
    legend: Callable[[], Sequence[Any]] | None = None


def fitting(text: str, width: int = 22) -> str:
    """Text on at most two lines of about `width` letters, its beginning and its end where it is longer.

    >>> fitting('natural language inference'), fitting('inference over three sentences, the second draw', 14)
    ('natural language\\ninference', 'inference ov …\\nhe second draw')
    """
    shown = ''.join(c if c.isprintable() else ' ' if c.isspace() else '\N{REPLACEMENT CHARACTER}' for c in text)
    lines = textwrap.wrap(shown, width)
    if len(lines) > 2:  # names that begin alike often end apart
        joined = ' '.join(shown.split())
        lines = [f'{joined[: width - 2].rstrip()} …', joined[-width:].lstrip()]
    return '\n'.join(lines) or ' '


def file_name(text: str) -> str:
    """A name that any file system takes.

    >>> file_name('examples per task'), file_name('../<b>')
    ('examples-per-task', 'b')
    """
    return re.sub(r'[^A-Za-z0-9_]+', '-', text).strip('-')[:80] or 'unnamed'


def write(figure: Figure, folder: str | os.PathLike) -> tuple[pathlib.Path, pathlib.Path]:
    """Writes a figure as PNG and as SVG, each whole or not at all.

    Returns:
      Both paths.
    """
    drawn = _drawn(figure.panels, salt=figure.name, legend=figure.legend)
    out = []
    for kind in ('png', 'svg'):
        path = pathlib.Path(folder) / f'{figure.name}.{kind}'
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f'.{os.getpid()}.tmp')
        temporary.write_bytes(_bytes(drawn, kind, salt=figure.name))
        drawn.set_layout_engine('none')  # the second file keeps the places found for the first
        out.append(temporary.replace(path))
    return out[0], out[1]


def inline(figure: Figure) -> list[Markup]:
    """Each panel as an `<svg>` for a page with the variables of `page`; titles are left to the page."""
    out = []
    for i, panel in enumerate(figure.panels):
        salt = f'{figure.name} {i}'
        drawn = _drawn([dataclasses.replace(panel, title='')], salt=salt, legend=None)
        source = _bytes(drawn, 'svg', salt=salt).decode()
        out.append(_of_page(source, label=f'{figure.title}: {panel.title}'))
    return out


def _drawn(panels: Sequence[Panel], *, salt: str, legend: Callable[[], Sequence[Any]] | None) -> Any:
    import matplotlib.figure  # deferred, as everywhere here: half a second

    columns = min(len(panels), _COLUMNS)
    rows = [panels[i : i + columns] for i in range(0, len(panels), columns)]
    heights = [max(panel.size[1] for panel in row) for row in rows]
    width = columns * max(panel.size[0] for panel in panels)
    with matplotlib.rc_context(_STYLE | {'svg.hashsalt': salt}):
        figure = matplotlib.figure.Figure(
            figsize=(width, sum(heights) + (0.35 if legend else 0.0)), layout='constrained'
        )
        grid = figure.add_gridspec(len(rows), columns, height_ratios=heights)
        for i, panel in enumerate(panels):
            axes = figure.add_subplot(grid[divmod(i, columns)])
            panel.draw(axes=axes)
            if panel.title:
                axes.set_title(fitting(panel.title, 44))
        if legend:
            handles = legend()
            figure.legend(handles=handles, loc='outside lower center', ncols=min(len(handles), 2 * columns))
    return figure


def _bytes(figure: Any, kind: str, *, salt: str) -> bytes:
    import matplotlib

    buffer = io.BytesIO()
    metadata = {'Date': None, 'Creator': None} if kind == 'svg' else {'Software': None}
    with matplotlib.rc_context(_STYLE | {'svg.hashsalt': salt}), warnings.catch_warnings():
        warnings.filterwarnings('ignore', message='Glyph')  # of a script that the font lacks: shown as a box
        figure.savefig(buffer, format=kind, dpi=_DPI if kind == 'png' else 72, metadata=metadata)
    return buffer.getvalue()


def _of_page(source: str, *, label: str) -> Markup:
    """matplotlib's file as an element: no header, no names of its own, the page's colours and type."""
    width, height = (float(x) for x in re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', source).groups())
    body = source[source.index('>', source.index('<svg')) + 1 : source.rindex('</svg>')]
    body = re.sub(r'<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->', '', body, flags=re.DOTALL)
    body = re.sub(r'<[^>]*>', lambda found: _restyled(found.group()), body)  # text between is left as it is
    body = re.sub(r'>\s+<', '><', body)
    return tag(
        'svg', Markup(body), class_='drawn', role='img', aria_label=label,
        viewBox=f'0 0 {width:g} {height:g}', style=f'max-width:{1.5 * width:.0f}px;min-width:{0.85 * width:.0f}px',
    )  # fmt: skip


def _restyled(element: str) -> str:
    element = re.sub(r' id="\w[\w.]*_\d+"', '', element)  # counted names, the same in every figure
    element = element.replace('xlink:href', 'href').replace("; font-family: 'DejaVu Sans'", '')
    element = re.sub(r'\s+', ' ', re.sub(r'(\d\.\d\d)\d+', r'\1', element))
    return re.sub(
        r'#[0-9a-f]{6}\b',
        lambda found: f'var({_ON_A_PAGE[found.group()]})' if found.group() in _ON_A_PAGE else found.group(),
        element,
    )

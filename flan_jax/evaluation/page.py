"""One self-contained HTML page: elements that escape their text, sortable tables, style and script.

Text becomes HTML only through `tag`, which escapes every child and attribute that is not `Markup` already, so nothing
that a data set or a model wrote can reach the page as markup.
"""

import dataclasses
import html
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


class Markup(str):
    """Text that is HTML already."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """What a table shows, and what it sorts by (None: always last)."""

    content: Any
    value: float | str | None


@dataclasses.dataclass(frozen=True)
class Column:
    """A column's head.

    Attributes:
      name: its head.
      number: right-aligned; the first click sorts from the highest.
      width: CSS width, for columns of plots; their heads stay on the left.
      title: what it means, shown on hovering.
    """

    name: str
    number: bool = False
    width: str | None = None
    title: str | None = None


def tag(name: str, *children: Any, **attributes: Any) -> Markup:
    """An element.

    >>> tag('p', 'a < b', tag('b', 'c'), class_='x', hidden=True, id=None)
    '<p class="x" hidden>a &lt; b<b>c</b></p>'

    Args:
      name: of the element.
      *children: Markup as it is, other values escaped, lists one by one, None left out.
      **attributes: `class_` is class, `data_v` is data-v; True gives a bare attribute, None and False none.
    """
    shown = []
    for key, value in attributes.items():
        key = key.rstrip('_').replace('_', '-')
        if value is True:
            shown.append(f' {key}')
        elif value is not None and value is not False:
            shown.append(f' {key}="{html.escape(str(value))}"')
    return Markup(f'<{name}{"".join(shown)}>{_inner(children)}</{name}>')


def _inner(children: Iterable[Any]) -> str:
    out = []
    for child in children:
        if isinstance(child, Markup):
            out.append(child)
        elif isinstance(child, list | tuple):
            out.append(_inner(child))
        elif child is not None:
            out.append(html.escape(str(child)))
    return ''.join(out)


def table(columns: Sequence[Column], rows: Iterable[Sequence[Cell]]) -> Markup:
    """A table that its heads sort."""
    heads = [
        tag(
            'th',
            tag('button', column.name, type='button'),
            class_=_column_class(column),
            title=column.title,
            style=f'min-width:{column.width}' if column.width else None,
            scope='col',
        )
        for column in columns
    ]
    lines = [
        tag(
            'tr',
            [
                tag('td', cell.content, class_=_column_class(column), data_v=cell.value)
                for column, cell in zip(columns, row, strict=True)
            ],
        )
        for row in rows
    ]
    body = tag('table', tag('thead', tag('tr', heads)), tag('tbody', lines), class_='sortable')
    return tag('div', body, class_='scroll')


def _column_class(column: Column) -> str | None:
    if not column.number:
        return None
    return 'number plot' if column.width else 'number'


def facts(pairs: Mapping[str, Any]) -> Markup:
    """Names and values side by side; a value of None is left out."""
    return tag(
        'dl',
        [tag('div', tag('dt', name), tag('dd', value)) for name, value in pairs.items() if value is not None],
        class_='facts',
    )


def fold(summary: Any, *children: Any, open_: bool = False) -> Markup:
    """Something to unfold."""
    return tag('details', tag('summary', summary), children, open=open_)


def tree(value: Mapping[str, Any]) -> Markup:
    """Nested mappings as folds, everything else as JSON."""
    leaves = [
        tag('div', tag('span', key, class_='key'), tag('code', json.dumps(leaf, ensure_ascii=False)), class_='leaf')
        for key, leaf in value.items()
        if not isinstance(leaf, Mapping)
    ]
    branches = [fold(key, tree(leaf)) for key, leaf in value.items() if isinstance(leaf, Mapping)]
    return tag('div', leaves, branches, class_='tree')


def missing(what: str) -> Markup:
    """A note in place of what is not there."""
    return tag('p', what, class_='missing')


def document(title: str, *, head: Markup, sections: Sequence[tuple[str, Markup]]) -> str:
    """The page.

    Args:
      title: of the window.
      head: what stands above the sections.
      sections: heading and content of each.
    """
    anchors = [heading.lower().replace(' ', '-') for heading, _ in sections]
    links = [tag('a', heading, href=f'#{anchor}') for anchor, (heading, _) in zip(anchors, sections, strict=True)]
    parts = [
        tag('section', tag('h2', heading), content, id=anchor)
        for anchor, (heading, content) in zip(anchors, sections, strict=True)
    ]
    body = tag('body', tag('header', head), tag('nav', links), tag('main', parts), tag('script', Markup(_SCRIPT)))
    meta = Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">')
    page = tag('html', tag('head', meta, tag('title', title), tag('style', Markup(_STYLE))), body, lang='en')
    return f'<!doctype html>\n{page}\n'


# Series colours are Okabe and Ito's, which stay apart for colour-blind readers; lightened in the dark.
_STYLE = """
:root { color-scheme: light dark; --back:#fbfbfa; --card:#fff; --text:#1f2328; --soft:#667079; --rule:#e3e5e8;
  --s0:#0072b2; --s1:#d55e00; --s2:#009e73; --s3:#b8558c; --bad:#b3261e; --track:#eceef0; }
@media (prefers-color-scheme: dark) { :root { --back:#15181c; --card:#1d2126; --text:#e4e7ea; --soft:#98a2ab;
  --rule:#32383f; --s0:#56b4e9; --s1:#e69f00; --s2:#2fc79a; --s3:#e39ac4; --bad:#ff8a80; --track:#2a3037; } }
* { box-sizing:border-box; }
html { scroll-padding-top:3.2rem; -webkit-text-size-adjust:100%; }
body { margin:0; background:var(--back); color:var(--text);
  font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",sans-serif; }
header, main { max-width:1240px; margin:0 auto; padding:0 20px; }
header { padding-top:28px; }
h1 { font-size:1.75rem; line-height:1.2; margin:0 0 .4rem; overflow-wrap:anywhere; }
h2 { font-size:1.25rem; margin:0 0 .8rem; } h3 { font-size:1rem; margin:1.6rem 0 .5rem; }
section { padding:26px 0 14px; border-top:1px solid var(--rule); } section:first-child { border:0; }
nav { position:sticky; top:0; z-index:2; display:flex; gap:4px 20px; overflow-x:auto; white-space:nowrap;
  padding:10px max(20px,calc(50vw - 600px)); background:var(--back); border-bottom:1px solid var(--rule); }
a { color:var(--s0); text-decoration:none; } a:hover { text-decoration:underline; }
.soft, figcaption output, .legend { color:var(--soft); } .small { font-size:.8rem; }
.missing { color:var(--soft); font-style:italic; } .bad { color:var(--bad); } .good { color:var(--s2); }
.warning { border-left:3px solid var(--s1); padding:2px 12px; margin:8px 0; }
.facts { display:flex; flex-wrap:wrap; gap:8px 28px; margin:.4rem 0 1.2rem; }
.facts dt { color:var(--soft); font-size:.78rem; } .facts dd { margin:0; font-variant-numeric:tabular-nums; }
.cards, .charts { display:grid; gap:16px; grid-template-columns:repeat(auto-fit,minmax(min(100%,330px),1fr)); }
.cards > div, figure { background:var(--card); border:1px solid var(--rule); border-radius:8px; padding:14px 16px; }
figure { margin:0; padding-bottom:6px; } figcaption { font-weight:600; display:flex; flex-wrap:wrap; gap:0 12px; }
figcaption output, .legend { font-weight:400; font-size:.8rem; font-variant-numeric:tabular-nums; }
figcaption .legend, p.legend > span { white-space:nowrap; margin-right:1.2em; }
figcaption output { flex-basis:100%; min-height:1.25rem; }
.big { font-size:2.4rem; line-height:1.15; font-weight:650; font-variant-numeric:tabular-nums; }
.big small { font-size:1rem; font-weight:400; color:var(--soft); margin-left:8px; }
svg { display:block; } svg.chart { width:100%; height:auto; touch-action:pan-y; } svg.dots { overflow:visible; }
figure:has(> .drawn) { overflow-x:auto; } svg.drawn { width:100%; height:auto; font-family:inherit; }
.plots { display:grid; gap:16px; grid-template-columns:repeat(auto-fill,minmax(min(100%,330px),1fr));
  align-items:start; }
.contents a { margin-right:1.2em; } .contents, h3 { overflow-wrap:anywhere; } h3[id] { padding-top:12px; }
.name { display:inline-block; max-width:min(22rem,40vw); white-space:normal; overflow-wrap:break-word; }
.tall .scroll { max-height:440px; overflow-y:auto; margin:12px 0; }
.tall thead th { position:sticky; top:0; z-index:1; background:var(--card); }
.tall thead th:first-child { z-index:2; }
.line { fill:none; stroke-width:1.8; stroke-linejoin:round; } .thin { fill:none; stroke-width:1; opacity:.32; }
.s0 { color:var(--s0); } .s1 { color:var(--s1); } .s2 { color:var(--s2); }
rect.s0, rect.s1, rect.s2 { fill:currentColor; opacity:.85; } polyline { stroke:currentColor; }
circle { fill:currentColor; }
.hollow { fill:var(--card); stroke:currentColor; stroke-width:1.8; }
.grid { stroke:var(--rule); } .tick { fill:var(--soft); font-size:11.5px; } .track { fill:var(--track); }
.whisker { stroke:var(--text); stroke-width:1.4; }
.baseline { stroke:var(--text); stroke-width:1.4; stroke-dasharray:2 2; }
.cursor { stroke:var(--soft); stroke-width:.8; }
.key-mark { display:inline-block; width:.7em; height:.7em; border-radius:50%; margin-right:.4em;
  background:currentColor; }
.ring { background:none; border:2px solid currentColor; }
.dash { border-radius:0; background:none; border-left:2px dashed var(--text); width:3px; height:1em;
  vertical-align:-2px; }
.clusters { display:grid; grid-template-columns:minmax(90px,max-content) minmax(80px,1fr) max-content; gap:7px 14px;
  align-items:center; } .clusters > :nth-child(3n) { text-align:right; font-variant-numeric:tabular-nums; }
.scroll { overflow-x:auto; background:var(--card); border:1px solid var(--rule); border-radius:8px; }
table { border-collapse:collapse; width:100%; font-size:.84rem; font-variant-numeric:tabular-nums; }
th, td { padding:6px 7px; text-align:left; vertical-align:top; border-bottom:1px solid var(--rule);
  white-space:nowrap; }
tbody tr:last-child td { border-bottom:0; } tbody tr:hover td { background:var(--back); }
td:first-child, th:first-child { position:sticky; left:0; z-index:1; background:var(--card); }
td .small { display:block; line-height:1.25; } .number { text-align:right; } .plot { text-align:left; }
th { vertical-align:bottom; font-weight:600; }
th button { all:unset; cursor:pointer; white-space:normal; } th button:hover { color:var(--s0); }
th button:focus-visible { outline:2px solid var(--s0); }
th[aria-sort=ascending] button::after { content:" \\2191"; }
th[aria-sort=descending] button::after { content:" \\2193"; }
details { margin:4px 0; } summary { cursor:pointer; padding:3px 0; } summary:hover { color:var(--s0); }
details .tree { margin-left:18px; }
.leaf { display:flex; flex-wrap:wrap; gap:0 12px; font-size:.86rem; } .key { color:var(--soft); min-width:12rem; }
code, pre { font:.84rem/1.5 ui-monospace,SFMono-Regular,Menlo,"DejaVu Sans Mono",monospace; }
code { overflow-wrap:anywhere; }
pre { margin:4px 0; padding:8px 12px; white-space:pre-wrap; overflow-wrap:anywhere; background:var(--card);
  border:1px solid var(--rule); border-radius:6px; }
.example { margin:8px 0 16px 18px; } .example .facts { margin:4px 0; gap:4px 24px; }
.example dd { white-space:pre-wrap; overflow-wrap:anywhere; }
h4 { font-size:.9rem; margin:1rem 0 .3rem; }
.pair { display:grid; gap:16px; grid-template-columns:minmax(0,1fr) minmax(0,1fr); align-items:start; }
.pair .scroll { max-height:340px; overflow-y:auto; } .pair > :only-child { grid-column:1/-1; }
.places { display:flex; gap:4px; align-items:end; height:18px; } .places > svg { flex:1; background:var(--track); }
#analysis .scroll { max-height:440px; overflow-y:auto; }
#analysis thead th { position:sticky; top:0; z-index:1; background:var(--card); }
#analysis thead th:first-child { z-index:2; }
table.confusion { width:auto; } .confusion td, .confusion th:not(:first-child) { text-align:right; min-width:3.6rem; }
.confusion th { max-width:12rem; overflow:hidden; text-overflow:ellipsis; font-weight:400; vertical-align:bottom; }
.shade { background:color-mix(in srgb, var(--s1) calc(var(--share) * 75%), transparent); }
.shade.hit { background:color-mix(in srgb, var(--s2) calc(var(--share) * 75%), transparent); }
@media (max-width:900px) { .pair { grid-template-columns:minmax(0,1fr); } }
@media (max-width:600px) { header, main { padding:0 14px; } nav { padding:10px 14px; } .key { min-width:8rem; }
  details .tree, .example { margin-left:10px; }
  .clusters { grid-template-columns:1fr max-content; } .clusters > :nth-child(3n+2) { grid-row:auto; order:0; }
  .clusters { gap:2px 10px; } .clusters > :nth-child(3n+1) { grid-column:1/-1; margin-top:8px; } }
@media print { nav { display:none; } }
"""

_SCRIPT = """
for (const table of document.querySelectorAll('table.sortable')) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, column) => head.firstChild.addEventListener('click', () => {
    const was = head.getAttribute('aria-sort'), number = head.classList.contains('number');
    const down = was ? was === 'ascending' : number;
    heads.forEach(other => other.removeAttribute('aria-sort'));
    head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
    const value = row => row.cells[column].dataset.v;
    const compare = (a, b) => number ? a - b : a.localeCompare(b, undefined, {numeric: true});
    const rows = [...body.rows].sort((p, q) => {
      const a = value(p), b = value(q);
      if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
      return down ? compare(b, a) : compare(a, b);
    });
    body.append(...rows);
  }));
}
const short = v => !v ? '0' : Math.abs(v) >= 1e4 ? Math.round(v).toLocaleString('en') :
  Math.abs(v) < 1e-3 ? v.toExponential(2) : String(+v.toPrecision(4));
for (const chart of document.querySelectorAll('svg.chart')) {
  const output = chart.parentNode.querySelector('output');
  const list = name => chart.dataset[name].split(' ').map(Number);
  const [x0, x1] = list('x'), [y0, y1] = list('y'), [left, right, bottom, top] = list('frame');
  const lines = {};
  for (const line of chart.querySelectorAll('polyline[data-name]'))
    (lines[line.dataset.name] ||= []).push(...line.points);
  const cursor = document.createElementNS('http://www.w3.org/2000/svg', 'line');
  cursor.setAttribute('class', 'cursor');
  chart.append(cursor);
  chart.addEventListener('pointermove', event => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(chart.getScreenCTM().inverse()).x;
    const near = points => points.reduce((p, q) => Math.abs(q.x - at) < Math.abs(p.x - at) ? q : p);
    const found = Object.entries(lines).map(([name, points]) => [name, near(points)]);
    if (!found.length) return;
    const x = found[0][1].x, step = x0 + (x - left) / (right - left) * (x1 - x0);
    const y = p => y0 + (bottom - p.y) / (bottom - top) * (y1 - y0);
    const show = p => short('log' in chart.dataset ? 10 ** y(p) : y(p));
    const named = found.length === 2;
    output.textContent = 'step ' + Math.round(step) + ': ' +
      found.map(([name, p]) => (named ? name + ' ' : '') + show(p)).join(named ? ', ' : ' / ');
    for (const [key, value] of Object.entries({x1: x, x2: x, y1: top, y2: bottom})) cursor.setAttribute(key, value);
  });
  chart.addEventListener('pointerleave', () => { output.textContent = ''; cursor.removeAttribute('y2'); });
}
"""

"""Tables as readers see them: laid out once, then set as HTML, LaTeX or plain text."""

import html
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Page:
    """A table of texts with two lines of titles and lines in blocks.

    dataset, name: what it is about, and which of its tables; corner: what a line is; spans: (title, columns) of the
    upper line of titles; names: the lower one, a title per column; lines: (heading of the block, name, cells), where an
    empty heading is no block and cells are (text, bold), one per column; note: what a reader must know.
    """

    dataset: str
    name: str
    corner: str
    spans: list
    names: list
    lines: list
    note: str


def _blocks(page):
    """The lines of a page with a line of its heading alone, cells None, before every block."""
    current = ""
    for heading, name, cells in page.lines:
        if heading != current:
            current = heading
            yield heading, None
        yield name, cells


# A click on a column's title, or Enter, sorts the lines of every block by it: numbers from the highest down, again from
# the lowest up, and what has no number last.
_SORT = """
const body = document.querySelector("tbody"), titles = [...document.querySelectorAll("th[scope=col]")];
const number = cell => parseFloat(cell.textContent.replace(/,/g, "").replace("−", "-").replace(/^[<>]/, ""));
function compare(a, b, column, sign) {
  if (column === 0) return sign * a.cells[0].textContent.localeCompare(b.cells[0].textContent);
  const [x, y] = [number(a.cells[column]), number(b.cells[column])];
  return isNaN(x) || isNaN(y) ? isNaN(x) - isNaN(y) : sign * (x - y);
}
titles.forEach((title, column) => {
  title.onclick = () => {
    const order = title.getAttribute("aria-sort") || (column ? "ascending" : "descending");
    const turned = order === "ascending" ? "descending" : "ascending";
    titles.forEach(other => other.removeAttribute("aria-sort"));
    title.setAttribute("aria-sort", turned);
    const blocks = [[]];
    for (const row of body.rows) row.cells.length === 1 ? blocks.push([row]) : blocks.at(-1).push(row);
    for (const block of blocks) {
      const heading = block.filter(row => row.cells.length === 1), lines = block.filter(row => row.cells.length > 1);
      lines.sort((a, b) => compare(a, b, column, turned === "ascending" ? 1 : -1));
      body.append(...heading, ...lines);
    }
  };
  title.onkeydown = event => event.key === "Enter" && title.onclick();
});
"""


def table_html(page):
    """The table alone, as HTML."""
    body = []
    for name, cells in _blocks(page):
        name = html.escape(name)
        if cells is None:
            body.append(f'<tr><th colspan="{1 + len(page.names)}" class="block">{name}</th></tr>')
            continue
        texts = [f"<b>{_cell(text)}</b>" if bold else _cell(text) for text, bold in cells]
        body.append(f'<tr><th scope="row">{name}</th>{"".join(f"<td>{text}</td>" for text in texts)}</tr>')
    titles = "".join(f'<th colspan="{span}" class="title">{html.escape(title)}</th>' for title, span in page.spans)
    below = "".join(f'<th scope="col" tabindex="0">{html.escape(name)}</th>' for name in page.names)
    newline = "\n"
    return f"""<div class="wide"><table>
<caption>{html.escape(page.dataset)}</caption>
<thead><tr><th></th>{titles}</tr>
<tr><th scope="col" tabindex="0">{html.escape(page.corner)}</th>{below}</tr></thead>
<tbody>
{newline.join(body)}
</tbody></table></div>"""


def _cell(text):
    """A cell's text; where the table is wider than the screen, its interval may stand below."""
    parts = _INTERVAL.split(html.escape(text), maxsplit=1)
    return f"{parts[0]} <span>{parts[1]}</span>" if len(parts) > 1 else parts[0]


_INTERVAL = re.compile(r" (?=\[)")
STYLE = """
.wide { overflow-x: auto; }
table { border-collapse: collapse; border-top: 2px solid; border-bottom: 2px solid; font-size: 13px; }
th, td { padding: .2rem .4rem; text-align: right; font-weight: normal; font-variant-numeric: tabular-nums;
  vertical-align: top; }
th, td, td span { white-space: nowrap; }
td:has(span) { white-space: normal; }
th[scope=col] { white-space: normal; }
th:first-child { text-align: left; }
th[scope=row] { position: sticky; left: 0; background: #fff; }
@media (max-width: 600px) { th[scope=row] { white-space: normal; min-width: 6rem; max-width: 9rem; } }
td b { font-weight: 700; }
th.title { text-align: center; font-weight: 600; border-bottom: 1px solid #999; }
th.block { text-align: left; font-style: italic; border-top: 1px solid; padding-top: .5rem; }
th[scope=col] { cursor: pointer; }
th[aria-sort=descending]::after { content: " ▾"; }
th[aria-sort=ascending]::after { content: " ▴"; }
caption { text-align: left; font-weight: 600; padding-bottom: .5rem; }
"""


def to_html(page):
    """The table as one self-contained HTML page, whose lines can be sorted by any column."""
    dataset = html.escape(page.dataset)
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{dataset}: {html.escape(page.name)}</title>
<style>
body {{ font: 13px/1.4 system-ui, sans-serif; color: #1a1a1a; background: #fff; margin: 1.5rem; }}
{STYLE}@media print {{ body {{ margin: 0; font-size: 9px; }} .wide {{ overflow: visible; }} }}
p {{ max-width: 60rem; color: #444; }}
</style></head><body>
{table_html(page)}
<p>{html.escape(page.note)}</p>
<script>{_SORT}</script>
</body></html>
"""


_LATEX = {
    "\\": r"\textbackslash{}",
    **{c: rf"\{c}" for c in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "−": "$-$",
    "×": r"$\times$",
    "<": "$<$",
    ">": "$>$",
    "–": "--",
    "·": r"$\cdot$",
    "→": r"$\to$",
    "†": r"\textdagger{}",
    "‡": r"\textdaggerdbl{}",
    "¤": r"\textasteriskcentered{}",
}


def _latex(text):
    return "".join(_LATEX.get(c, c) for c in text)


def to_latex(page):
    """The table as a LaTeX `table*` for booktabs, with a caption that says what the numbers are."""
    rules, start = [], 2
    for _, span in page.spans:
        rules.append(rf"\cmidrule(lr){{{start}-{start + span - 1}}}")
        start += span
    titles = [rf"\multicolumn{{{span}}}{{c}}{{{_latex(title)}}}" for title, span in page.spans]
    lines = [
        r"% needs \usepackage{booktabs,adjustbox}",
        r"\begin{table*}",
        r"\centering",
        rf"\caption{{\textbf{{{_latex(page.dataset)}.}} {_latex(page.note)}}}",
        rf"\label{{tab:{page.name}-{page.dataset.replace('_', '-')}}}",
        r"\begin{adjustbox}{max width=\textwidth}",
        rf"\begin{{tabular}}{{l{'r' * len(page.names)}}}",
        r"\toprule",
        " & ".join(["", *titles]) + r" \\",
        " ".join(rules),
        " & ".join([page.corner, *map(_latex, page.names)]) + r" \\",
    ]
    for name, cells in _blocks(page):
        if cells is None:
            lines += [r"\midrule", rf"\multicolumn{{{1 + len(page.names)}}}{{l}}{{\textit{{{_latex(name)}}}}} \\"]
            continue
        texts = [rf"\textbf{{{_latex(text)}}}" if bold else _latex(text) for text, bold in cells]
        lines.append(" & ".join([_latex(name), *texts]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}", r"\end{adjustbox}", r"\end{table*}", ""]
    return "\n".join(lines)


def aligned(rows):
    """Rows of texts as lines with their columns one below the other; a row of one text takes the whole line."""
    widths = [max(len(row[i]) for row in rows if len(row) > 1) for i in range(max(map(len, rows)))]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=False)).rstrip() for row in rows]


def to_text(page):
    """The table as plain text for a terminal, without its note; a star stands for bold."""
    upper = [text for title, span in page.spans for text in [title, *[""] * (span - 1)]]
    rows = [["", *upper], [f"  {page.corner}", *page.names]]
    for name, cells in _blocks(page):
        rows.append([name] if cells is None else [f"  {name}", *(text + "*" * bold for text, bold in cells)])
    return "\n".join([f"{page.dataset}: {page.name}", *aligned(rows)])

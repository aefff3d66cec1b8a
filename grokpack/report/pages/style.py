"""Style sheet of HTML pages, light and dark, readable from a phone up."""

from __future__ import annotations

CSS = """\
:root {
  color-scheme: light dark;
  --paper: #fcfcfa; --ink: #1d2024; --faint: #62676e; --line: #dcdcd6; --panel: #f3f3ee;
  --good: #1a7f4b; --bad: #b3261e; --hot: #d55e00; --cold: #0072b2;
  --part-0: #0072b2; --part-1: #d55e00; --part-2: #009e73; --part-3: #a45bb5;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --paper: #16181b; --ink: #e6e6e1; --faint: #9aa0a8; --line: #34383e; --panel: #1f2226;
    --good: #5cc78f; --bad: #ff8a80; --hot: #ef8354; --cold: #56a8e9;
    --part-0: #56b4e9; --part-1: #ef8354; --part-2: #3fc79a; --part-3: #c98ad8;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 72rem; padding: 1.5rem 1rem 3rem;
  background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere;
}
h1 { font-size: 1.4rem; line-height: 1.3; margin: 0 0 .4rem; }
h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem; }
p { max-width: 46rem; margin: .4rem 0; }
p, small, footer { color: var(--faint); }
.typed::before { content: "$ "; font-family: ui-monospace, monospace; }
.typed { max-width: none; }
footer { margin-top: 3rem; border-top: 1px solid var(--line); padding-top: .6rem; }
footer, small { font-size: .85rem; }
code, pre, td, dd { font-variant-numeric: tabular-nums; }
code, pre { font-family: ui-monospace, monospace; font-size: .9em; }
pre { margin: 0; white-space: pre-wrap; }
.badge {
  display: inline-block; padding: 0 .6em; border: 1px solid; border-radius: 1em;
  font-size: .85rem; font-weight: 600; white-space: nowrap;
}
.good { color: var(--good); } .bad { color: var(--bad); } .idle { color: var(--faint); }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); gap: .8rem;
  margin: 0; }
dt { color: var(--faint); font-size: .85rem; }
dd { margin: 0; font-weight: 600; }
dl.meanings { grid-template-columns: 1fr; margin-top: 1rem; max-width: 46rem; }
dl.meanings dd { font-weight: 400; }
.scroll { overflow-x: auto; margin: .6rem 0; background:
  linear-gradient(to left, var(--paper) 50%, transparent) right / 2rem 100% no-repeat local,
  linear-gradient(to left, var(--line), transparent) right / 1rem 100% no-repeat scroll; }
table { border-collapse: collapse; font-size: .9rem; overflow-wrap: normal; }
th, td { text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0;
  border-bottom: 1px solid var(--line); }
th { color: var(--faint); font-weight: 600; vertical-align: bottom; }
td { overflow-wrap: break-word; max-width: min(24rem, 45vw); }
td pre { overflow-wrap: anywhere; min-width: 12rem; }
.number { text-align: right; }
td.number { white-space: nowrap; }
th.kind { text-align: right; padding: .3rem; font-size: .8rem; max-width: 5.5rem; }
th[scope=row] { border: 0; padding-top: .1rem; padding-bottom: .1rem; }
.heat { text-align: right; padding: .1rem .3rem; border: 0; white-space: nowrap;
  background: color-mix(in srgb, var(--cold) calc(var(--shade) * 1%), transparent); }
.heat.high { background: color-mix(in srgb, var(--hot) calc(var(--shade) * 1%), transparent); }
.scale { max-width: 20rem; margin: .6rem 0; font-size: .85rem; color: var(--faint); }
.scale .strip { display: block; height: .6rem; border: 1px solid var(--line);
  background: linear-gradient(to right, transparent,
    color-mix(in srgb, var(--hot) 60%, transparent)); }
.scale .strip.both { background: linear-gradient(to right,
  color-mix(in srgb, var(--cold) 60%, transparent), transparent,
  color-mix(in srgb, var(--hot) 60%, transparent)); }
.scale .ends { display: flex; justify-content: space-between; gap: 1rem; }
.gallery { display: grid; gap: 1.5rem; margin: .8rem 0;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 27.5rem), 1fr)); }
figure { margin: 0; max-width: 34rem; }
figcaption { font-weight: 600; font-size: .9rem; }
svg.chart { display: block; width: 100%; height: auto; font-size: 11px; }
ol.layers { list-style: none; margin: 0; padding: 0; display: grid; gap: .4rem;
  grid-template-columns: repeat(auto-fill, minmax(7rem, 1fr)); }
ol.layers li { border: 1px solid var(--line); border-left: .3rem solid var(--good);
  border-radius: .25rem; padding: .2rem .5rem; font-size: .85rem; }
ol.layers li.bad { border-color: var(--bad); color: var(--ink); background: var(--panel); }
details { margin-top: .6rem; } summary { cursor: pointer; }
@media print {
  :root { color-scheme: light; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  * { print-color-adjust: exact; }
  .scroll { overflow: visible; background: none; }
  table { font-size: 8pt; }
  td.number, th.kind { white-space: normal; }
  h2, figcaption { break-after: avoid; }
  figure, tr, li, dl > div { break-inside: avoid; }
  thead { display: table-header-group; }
  details::details-content { display: block; content-visibility: visible; }
}
"""

"""Style sheet of HTML pages, light and dark, readable from a phone up."""

from __future__ import annotations

CSS = """\
:root {
  color-scheme: light dark;
  --paper: #fcfcfa; --ink: #1d2024; --faint: #62676e; --line: #dcdcd6; --panel: #f3f3ee;
  --good: #1a7f4b; --bad: #b3261e; --warn: #8a5a00; --hot: #d9622b; --cold: #2f74c0;
  --part-0: #2f74c0; --part-1: #d9622b; --part-2: #2a9d78; --part-3: #a45bb5; --part-4: #8c8c55;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #16181b; --ink: #e6e6e1; --faint: #9aa0a8; --line: #34383e; --panel: #1f2226;
    --good: #5cc78f; --bad: #ff8a80; --warn: #e5b454; --hot: #ef8354; --cold: #6aa9ec;
    --part-0: #6aa9ec; --part-1: #ef8354; --part-2: #54c7a0; --part-3: #c98ad8; --part-4: #b5b57a;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 72rem; padding: 1.5rem 1rem 3rem;
  background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere;
}
h1 { font-size: 1.4rem; line-height: 1.3; margin: 0 0 1rem; }
h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem; }
p { max-width: 46rem; margin: .4rem 0; }
p, figcaption, small, footer { color: var(--faint); }
footer { margin-top: 3rem; border-top: 1px solid var(--line); padding-top: .6rem; }
footer, small, figcaption { font-size: .85rem; }
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
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; overflow-wrap: normal; }
th, td { text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0;
  border-bottom: 1px solid var(--line); }
th { color: var(--faint); font-weight: 600; white-space: nowrap; }
.number { text-align: right; white-space: nowrap; }
.nowrap { white-space: nowrap; }
th.kind { text-align: right; white-space: normal; min-width: 5rem; max-width: 7rem;
  vertical-align: bottom; padding: .3rem .5rem; }
th[scope=row] { border: 0; padding-top: .1rem; padding-bottom: .1rem; }
.heat { text-align: right; padding: .1rem .5rem; border: 0; white-space: nowrap;
  background: color-mix(in srgb, var(--cold) calc(var(--low) * 1%), transparent); }
.heat.high { background: color-mix(in srgb, var(--hot) calc(var(--low) * 1%), transparent); }
.swatch { display: inline-block; width: .8em; height: .8em; margin-right: .5em;
  border-radius: .15em; }
svg { display: block; width: 100%; }
svg.shares { height: 2rem; margin-bottom: .8rem; }
svg.bars { height: 3.5rem; fill: var(--cold); border-bottom: 1px solid var(--line); }
.many { display: grid; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); gap: 1.2rem; }
.many figure { margin: 0; }
ol.layers { list-style: none; margin: 0; padding: 0; display: grid; gap: .4rem;
  grid-template-columns: repeat(auto-fill, minmax(7rem, 1fr)); }
ol.layers li { border: 1px solid var(--line); border-left: .3rem solid var(--good);
  border-radius: .25rem; padding: .2rem .5rem; font-size: .85rem; }
ol.layers li.bad { border-color: var(--bad); color: var(--ink); background: var(--panel); }
details { margin-top: .6rem; } summary { cursor: pointer; }
"""

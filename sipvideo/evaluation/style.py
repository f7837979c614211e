"""The report's style sheet: one column that fits a phone, light or dark as the reader's system is."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark; --back: #fbfbfa; --card: #fff; --ink: #1d2126; --soft: #626a73; --rule: #e3e5e8;
  --rail: #eceef0; --c0: #2367c9; --c1: #d9730d; --c2: #6b7480; --span: #a9c6ef; --mark: #123a75; }
@media (prefers-color-scheme: dark) { :root { --back: #14171a; --card: #1c2024; --ink: #e6e9ec; --soft: #9aa3ad;
  --rule: #30363c; --rail: #2a3036; --c0: #6ea8ff; --c1: #ffa04d; --c2: #a3adb8; --span: #35598f; --mark: #dbe8ff; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1060px; margin: 0 auto; padding: 20px 16px 60px; }
h1 { font-size: 1.5rem; margin: 0 0 .5rem; overflow-wrap: anywhere; }
h2, summary { font-size: 1.15rem; font-weight: 650; margin: 2.2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 0; }
h3 + p { margin: 0 0 .4rem; color: var(--soft); }
summary { cursor: pointer; }
small, .note, dt { color: var(--soft); font-size: .87rem; }
.note { margin: 0 0 .8rem; max-width: 46rem; }
dl { display: flex; flex-wrap: wrap; gap: .3rem 1.6rem; margin: 0; }
dt, dd { margin: 0; overflow-wrap: anywhere; }
.notes { margin: 1rem 0 0; padding: .6rem 1rem .6rem 2rem; border-left: 3px solid var(--c1); background: var(--card); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 10px; margin-top: 1.4rem; }
.tile { background: var(--card); border: 1px solid var(--rule); border-radius: 8px; padding: 10px 12px; }
.tile b { display: block; font-weight: 500; color: var(--soft); }
.tile strong { display: block; font-size: 1.7rem; line-height: 1.3; font-variant-numeric: tabular-nums; }
.tile small { display: block; margin-top: 4px; }
.wide { overflow-x: auto; margin-bottom: 1rem; }
table { border-collapse: collapse; width: 100%; background: var(--card); font-variant-numeric: tabular-nums; }
th, td { padding: 5px 10px; border-bottom: 1px solid var(--rule); text-align: right; white-space: nowrap; }
th { font-weight: 500; }
thead th { color: var(--soft); font-size: .87rem; }
th:first-child { text-align: left; white-space: normal; overflow-wrap: anywhere; min-width: 7rem; }
th small { display: block; font-weight: 400; line-height: 1.35; }
td:has(svg) { width: 34%; min-width: 90px; }
.bar { display: block; width: 100%; height: 10px; border-radius: 3px; }
.bar .rail { fill: var(--rail); } .bar .span { fill: var(--span); } .bar .mark { fill: var(--mark); }
.bar .c0 { fill: var(--c0); } .bar .c1 { fill: var(--c1); }
.plot { display: block; width: 100%; height: auto; }
.plot text { fill: var(--soft); font: 10.5px system-ui, sans-serif; }
.plots .plot text { font-size: 14px; }
.plot .grid { stroke: var(--rule); stroke-width: 1; fill: none; }
.plot .line { fill: none; stroke-width: 2; stroke-linejoin: round; }
.line.c0 { stroke: var(--c0); } .line.c1 { stroke: var(--c1); } .line.c2 { stroke: var(--c2); stroke-dasharray: 5 3; }
.main-plot { max-width: 560px; background: var(--card); border: 1px solid var(--rule); border-radius: 8px;
  padding: 8px; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(220px, 1fr)); gap: 12px; }
.plots figure { margin: 0; background: var(--card); border: 1px solid var(--rule); border-radius: 8px; padding: 8px; }
figcaption { font-size: .87rem; color: var(--soft); } figcaption b { color: var(--ink); }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; margin: .3rem 0; font-size: .87rem; }
.legend i { display: inline-block; width: 18px; height: 3px; margin-right: 6px; vertical-align: middle; }
.legend .c0 { background: var(--c0); } .legend .c1 { background: var(--c1); } .legend .c2 { background: var(--c2); }
.strip { display: flex; gap: 4px; overflow-x: auto; }
.strip figure { margin: 0; flex: 0 0 max(230px, 100% / 6 - 4px); text-align: center; }
@media (max-width: 560px) { td:has(.bar), :is(th, td):nth-child(2):empty { display: none; }
  th, td { padding: 5px 7px; } }
.strip img { display: block; width: 100%; height: auto; margin-bottom: 4px; border-radius: 3px; }
"""

/**
 * The demo page's style sheet and script. Their names carry a hash of their content, as a build tool would
 * have it, so that they can be kept for ever.
 */

/** A file whose name changes with its content. */
export interface HashedAsset {
  readonly path: string;
  readonly content: string;
}

function hashed(name: string, extension: string, content: string): HashedAsset {
  const hash = new Bun.CryptoHasher("sha256").update(content).digest("hex").slice(0, 16);
  return { path: `/assets/${name}.${hash}.${extension}`, content };
}

/** The style sheet: system fonts, light and dark by the viewer's choice. */
export const style: HashedAsset = hashed(
  "app",
  "css",
  `:root {
  color-scheme: light dark;
  --ground: light-dark(#f6f5f3, #14151c);
  --surface: light-dark(#fff, #1d1f29);
  --ink: light-dark(#1d1f29, #ecebe8);
  --quiet: light-dark(#62646f, #a3a5b3);
  --line: light-dark(#e2e0dc, #30333f);
  --accent: light-dark(#4a3f8f, #b3a8ff);
  --hit: light-dark(#14663f, #7fe0ab);
  --hit-ground: light-dark(#dcf3e6, #173b2a);
  --miss: light-dark(#8a4b08, #ffc27d);
  --miss-ground: light-dark(#fdebd3, #43301a);
  --other: light-dark(#45475a, #c8cad8);
  --other-ground: light-dark(#e9e9ee, #2f3240);
}
* { box-sizing: border-box; }
body {
  margin: 0;
  background: var(--ground);
  color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
}
main, footer { max-width: 58rem; margin: 0 auto; padding: 0 1.25rem; }
.hero { display: grid; grid-template-columns: 1fr minmax(0, 20rem); gap: 2rem; align-items: center; padding: 2.5rem 0 2rem; }
.hero img { display: block; width: 100%; height: auto; border-radius: .9rem; }
h1 { margin: 0 0 .6rem; font-size: clamp(1.6rem, 4.5vw, 2.3rem); line-height: 1.15; letter-spacing: -.02em; text-wrap: balance; }
h1 span { color: var(--accent); }
h2 { margin: 0; font-size: 1.05rem; }
p { margin: 0; color: var(--quiet); text-wrap: pretty; }
a { color: var(--accent); }
code { font: .875em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
.card { background: var(--surface); border: 1px solid var(--line); border-radius: .9rem; overflow: hidden; }
.bar { display: flex; flex-wrap: wrap; gap: .5rem 1rem; align-items: center; justify-content: space-between; padding: .9rem 1.1rem; }
button {
  font: inherit; font-size: .875rem; color: var(--accent); background: transparent;
  border: 1px solid var(--line); border-radius: .5rem; padding: .3rem .7rem; cursor: pointer;
}
button:hover { border-color: var(--accent); }
button:focus-visible, a:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
button:disabled { opacity: .5; cursor: progress; }
.all { color: var(--surface); background: var(--accent); border-color: var(--accent); }
table { width: 100%; border-collapse: collapse; font-size: .925rem; }
th, td { padding: .6rem 1.1rem; text-align: left; border-top: 1px solid var(--line); vertical-align: middle; }
thead th { font-size: .78rem; font-weight: 600; color: var(--quiet); padding-block: .4rem; }
tbody th { font-weight: 400; }
tbody th code { display: block; overflow-wrap: anywhere; }
tbody th small { display: block; color: var(--quiet); line-height: 1.4; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.tag { display: inline-block; min-width: 4.2rem; padding: .1rem .5rem; border-radius: .4rem; text-align: center; font: 600 .78rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; color: var(--other); background: var(--other-ground); }
.tag.hit { color: var(--hit); background: var(--hit-ground); }
.tag.miss { color: var(--miss); background: var(--miss-ground); }
.note { padding: .8rem 1.1rem; border-top: 1px solid var(--line); font-size: .9rem; }
footer { padding-block: 1.6rem 2.5rem; font-size: .875rem; color: var(--quiet); }
@media (max-width: 40rem) {
  .hero { grid-template-columns: 1fr; gap: 1.25rem; padding-top: 1.5rem; }
  .hero img { max-height: 11rem; object-fit: cover; }
  thead { display: none; }
  tbody tr { display: grid; grid-template-columns: auto 1fr auto auto; gap: .45rem .8rem; align-items: center; padding: .8rem 1.1rem; border-top: 1px solid var(--line); }
  tbody th, tbody td { padding: 0; border: 0; }
  tbody th { grid-column: 1 / -1; }
  td[data-label]::before { content: attr(data-label) " "; color: var(--quiet); font-size: .8rem; }
}
`,
);

/** The script: asks for each resource through whatever serves the page, and shows what its fields say. */
export const script: HashedAsset = hashed(
  "app",
  "js",
  `const rows = [...document.querySelectorAll("tr[data-url]")];
const note = document.querySelector("#note");
const all = document.querySelector("#all");

async function ask(row) {
  const button = row.querySelector("button");
  button.disabled = true;
  const started = performance.now();
  try {
    // The browser's own cache would hide what the edge does.
    const response = await fetch(row.dataset.url, { cache: "no-store" });
    await response.arrayBuffer();
    show(row, response, performance.now() - started);
  } catch {
    const tag = row.querySelector(".tag");
    tag.className = "tag";
    tag.textContent = "failed";
  } finally {
    button.disabled = false;
  }
}

function show(row, response, tookMs) {
  const result = response.headers.get("x-cache");
  const age = response.headers.get("age");
  const tag = row.querySelector(".tag");
  const word = result === null ? "no edge" : result.split(/[ ,;]/)[0];
  tag.textContent = word;
  tag.title = response.headers.get("cache-status") ?? "";
  tag.className = "tag " + (/^(hit|revalidated|stale|updating)$/i.test(word) ? "hit" : /^(miss|expired)$/i.test(word) ? "miss" : "");
  row.querySelector(".age").textContent = age === null ? "\\u2013" : age + " s";
  row.querySelector(".took").textContent = tookMs < 10 ? tookMs.toFixed(1) + " ms" : Math.round(tookMs) + " ms";
  note.textContent = result === null
    ? "This is the origin itself: there is no X-Cache here. Open the edge's address instead."
    : "Ask again: what was a MISS is a HIT until its time is up. What is personal is never kept.";
}

async function askAll() {
  all.disabled = true;
  await Promise.all(rows.map(ask));
  all.disabled = false;
}

for (const row of rows) row.querySelector("button").addEventListener("click", () => ask(row));
all.addEventListener("click", askAll);
askAll();
`,
);

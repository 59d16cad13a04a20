/** The demo site's pages. Whatever comes from a viewer is escaped here; the policy allows no inline code. */
import { script, style } from "./assets.ts";

/** Sent with every page: nothing but the site's own files. */
export const CONTENT_SECURITY_POLICY =
  "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/** Longest name that the personal page greets, in characters. */
const NAME_LENGTH_MAX = 40;

const resources: readonly { readonly path: string; readonly says: string }[] = [
  { path: style.path, says: "a style sheet with its hash in the name: immutable for a year" },
  { path: "/images/sunrise.svg", says: "a drawing: one hour" },
  { path: "/images/sunrise.webp", says: "a picture: one hour" },
  { path: "/api/time", says: "JSON for 5 seconds, then refreshed behind the viewer's back" },
  { path: "/api/products?page=1", says: "JSON for 30 seconds, with tags to purge by" },
  { path: "/slow", says: "takes the origin a second, then 10 seconds of rest" },
  { path: "/account", says: "personal: never kept" },
  { path: "/missing", says: "not there (404)" },
];

/** The start page. */
export function startPage(): string {
  const rows = resources.map(
    ({ path, says }) => `<tr data-url="${escapeHtml(path)}">
<th scope="row"><code>${escapeHtml(path)}</code><small>${escapeHtml(says)}</small></th>
<td><span class="tag">&hellip;</span></td>
<td class="number age" data-label="Age">&ndash;</td>
<td class="number took">&ndash;</td>
<td class="number"><button type="button" aria-label="Ask for ${escapeHtml(path)} again">Reload</button></td>
</tr>`,
  );
  return layout(
    "Proxima demo",
    `<div class="hero">
<div>
<h1>A cache, close to you: <span>Proxima</span></h1>
<p>This small site runs on the origin server. What you see came through the edge in front of it. The table asks for each resource as your browser would, and shows what the edge did: served it from its cache (HIT), asked the origin (MISS) or left it alone.</p>
</div>
<img src="/images/sunrise.png" width="480" height="270" alt="A sunrise over hills">
</div>
<section class="card">
<div class="bar"><h2>What the edge says</h2><button type="button" class="all" id="all">Ask for all again</button></div>
<table>
<thead><tr><th scope="col">Resource</th><th scope="col">X-Cache</th><th scope="col" class="number">Age</th><th scope="col" class="number">Took</th><td></td></tr></thead>
<tbody>
${rows.join("\n")}
</tbody>
</table>
<p class="note" id="note" aria-live="polite">Asking&hellip;</p>
</section>`,
    `<script type="module" src="${script.path}"></script>`,
  );
}

/** The personal page; `name` comes from a cookie, as the viewer sent it. */
export function accountPage(name: string | null): string {
  const shown = name === null || name === "" ? "stranger" : name.slice(0, NAME_LENGTH_MAX);
  return layout(
    "Your account",
    `<div class="hero"><div><h1>Hello, <span>${escapeHtml(shown)}</span></h1>
<p>This page is yours alone: it says <code>private, no-store</code> and sets a cookie, so no shared cache keeps it. Send a cookie <code>name=Ada</code> and it greets Ada. <a href="/">Back</a></p></div></div>`,
  );
}

/** The page for everything that is not there. */
export function missingPage(): string {
  return layout(
    "Not found",
    `<div class="hero"><div><h1>There is nothing here</h1><p>The origin answered 404. <a href="/">To the start</a></p></div></div>`,
  );
}

function layout(title: string, content: string, end = ""): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(title)}</title>
<link rel="icon" href="/images/sunrise.svg" type="image/svg+xml">
<link rel="stylesheet" href="${style.path}">
</head>
<body>
<main>
${content}
</main>
<footer>Demo origin of Proxima. Your own site: <code>npm start -- http://127.0.0.1:3000</code></footer>
${end}
</body>
</html>
`;
}

/** Text as it may stand in an element or a quoted attribute. */
export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

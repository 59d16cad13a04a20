/** The API for a person: one page without scripts and without anything from elsewhere. */
import { createHash } from "node:crypto";
import * as z from "zod";
import type { Route } from "./route.ts";

const STYLE = `body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}
h2{margin-top:2.5rem;border-bottom:1px solid #d0d7de}code,pre{font:14px/1.45 ui-monospace,monospace}
details{border:1px solid #d0d7de;border-radius:6px;margin:.5rem 0;padding:.4rem .8rem}summary{cursor:pointer}summary code,p code{overflow-wrap:anywhere}
pre{background:#f6f8fa;padding:.8rem;overflow:auto;border-radius:6px}.m{display:inline-block;min-width:4rem;font-weight:600}
.a{color:#57606a;font-size:14px}@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}pre{background:#161b22}details,h2{border-color:#30363d}.a{color:#8b949e}}`;

/** For Content-Security-Policy: the only style that the page may have. */
export const STYLE_HASH = `sha256-${createHash("sha256").update(STYLE).digest("base64")}`;

/** The page as HTML. */
export function docsPage(routes: readonly Route[], version: string): string {
  const groups = [...new Set(routes.map(({ group }) => group))];
  const contents = groups.map((group) => `<a href="#${slug(group)}">${escaped(group)}</a>`).join(" · ");
  const sections = groups.map(
    (group) =>
      `<h2 id="${slug(group)}">${escaped(group)}</h2>\n${routes
        .filter((route) => route.group === group)
        .map(operation)
        .join("\n")}`,
  );
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Proxima control plane</title><style>${STYLE}</style></head>
<body><h1>Proxima control plane</h1>
<p>Version ${escaped(version)}. The same as data: <a href="/openapi.json">/openapi.json</a> (OpenAPI 3.1). Send <code>Authorization: Bearer TOKEN</code>, and <code>Content-Type: application/json</code> with everything that changes something. Errors are problem documents (RFC 9457). A POST that changes something takes an <code>Idempotency-Key</code>. Lists have <code>items</code> and <code>next</code>, the path of the next page.</p>
<p>${contents}</p>
${sections.join("\n")}
</body></html>
`;
}

function operation(route: Route): string {
  const access =
    route.access.length === 0
      ? "a join token"
      : route.access.map((one) => (one === "node" ? "a node" : one)).join(" or ");
  const parts = [
    `<p class="a">Needs: ${escaped(access)}${route.fleetWide ? ", for all sites" : ""}.</p>`,
    route.query === null ? "" : `<p>Query</p><pre>${schemaText(route.query, "input")}</pre>`,
    route.body === null
      ? ""
      : `<p>Body (at most ${route.bodyBytesMax} bytes)</p><pre>${schemaText(route.body, "input")}</pre>`,
    route.answer === null
      ? ""
      : `<p>Answer (${route.status})</p><pre>${schemaText(route.answer, "output")}</pre>`,
  ];
  return `<details><summary><span class="m">${route.method}</span> <code>${escaped(route.path)}</code> ${escaped(route.summary)}</summary>${parts.join("")}</details>`;
}

function schemaText(schema: z.ZodType, io: "input" | "output"): string {
  const { $schema: _, ...made } = z.toJSONSchema(schema, { io, unrepresentable: "any" }) as Record<
    string,
    unknown
  >;
  return escaped(JSON.stringify(made, null, 2));
}

function slug(text: string): string {
  return text.toLowerCase().replace(/[^a-z]+/g, "-");
}

function escaped(text: string): string {
  return text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
}

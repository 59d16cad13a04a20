/** What a person reads when an edge has started: where it listens, how to trust it, what to try. */
import { relative } from "node:path";
import type { RunningNode } from "../node/node.ts";
import { styleFor } from "./io.ts";
import { VERSION } from "./version.ts";

/** One thing to try: a curl command and what it shows. */
export interface Trial {
  readonly shows: string;
  readonly path: string;
  /** Further arguments, quoted for a shell. */
  readonly arguments?: string;
}

/** The banner of `edge`. */
export function edgeBanner(node: RunningNode, file: string, sites: number, color: boolean): string {
  const head = `proxima ${VERSION} serves ${sites} site${sites === 1 ? "" : "s"} of ${file}`;
  return `${styleFor(color).bold(head)}\n\n${addressLines(node)}\n`;
}

/** The banner of `dev`. `notes` are told below the addresses; `program` is how this program is called here. */
export function devBanner(
  node: RunningNode,
  origin: string,
  notes: readonly string[],
  trials: readonly Trial[],
  color: boolean,
  program: string,
): string {
  const style = styleFor(color);
  const lines = [style.bold(`proxima ${VERSION} is in front of ${origin}`), "", addressLines(node)];
  for (const note of notes) lines.push(`  ${note}`);
  if (notes.length > 0) lines.push("");
  const { http, https } = node.addresses;
  const base =
    http === null ? (https === null ? null : `https://${reachable(https)}`) : `http://${reachable(http)}`;
  if (base !== null && trials.length > 0) {
    const trust = http === null && node.caFile !== null ? ` --cacert ${shellQuote(node.caFile)}` : "";
    lines.push("Try it: each line prints the answer's header, look at X-Cache and Cache-Status.");
    for (const { shows, path, arguments: more } of trials) {
      const command = `curl -s -o /dev/null -D -${trust}${more === undefined ? "" : ` ${more}`} ${base}${path}`;
      lines.push(`  ${command}  ${style.dim(`# ${shows}`)}`);
    }
    lines.push("");
  }
  lines.push(
    `Why was it so?  ${program} explain ${base ?? "URL"}${trials[0]?.path ?? "/"} --control ${node.addresses.control}`,
  );
  lines.push("Ctrl+C drains and ends it.", "");
  return lines.join("\n");
}

function addressLines(node: RunningNode): string {
  const { http, https, http3, control, controlScheme } = node.addresses;
  const lines: string[] = [];
  const row = (name: string, value: string) => lines.push(`  ${name.padEnd(9)}${value}`);
  if (http !== null) row("http", `http://${reachable(http)}`);
  if (https !== null) row("https", `https://${reachable(https)} (HTTP/1.1, HTTP/2)`);
  row("h3", http3 === null ? "off" : `https://${reachable(http3)} (HTTP/3 over UDP)`);
  row(
    "control",
    `${controlScheme}://${reachable(control)} (/healthz /readyz /metrics /v1/stats /v1/explain?url=)`,
  );
  row("data", shown(node.dataDir));
  if (https !== null && node.caFile !== null) {
    row("CA", shown(node.caFile));
    row("", `curl --cacert ${shellQuote(shown(node.caFile))} https://${localhost(https)}/`);
  }
  return `${lines.join("\n")}\n`;
}

/** An address that a client on this machine can use: a wildcard is no destination. */
function reachable(address: string): string {
  return address.replace(/^(?:0\.0\.0\.0|\[::\])?:(\d+)$/, "127.0.0.1:$1");
}

/** The local CA's certificate is for localhost and loopback addresses alike; the name reads better. */
function localhost(address: string): string {
  return reachable(address).replace(/^127\.0\.0\.1:/, "localhost:");
}

/** A path as short as it can be from here. */
function shown(path: string): string {
  const short = relative(process.cwd(), path);
  return short === "" || short.startsWith("..") ? path : `./${short}`;
}

function shellQuote(text: string): string {
  return /^[\w./:@%+=-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

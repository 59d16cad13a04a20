/** wrk: HTTP/1.1, clear and TLS, closed loop, one thread. It tells percentiles. */
import type { Cell } from "../cells.ts";
import { type RunningPeer, urlOf } from "../peers/peer.ts";
import { HOST, LOAD_CPU, type Stage } from "../stage.ts";
import type { LoadReport } from "./report.ts";

/** Another path for each request: PROXIMA_BENCH_PREFIX and a number. Kept short, because it runs for each of them. */
const DISTINCT_PATHS = `
local head = "GET " .. os.getenv("PROXIMA_BENCH_PREFIX")
local tail = " HTTP/1.1\\r\\nHost: " .. os.getenv("PROXIMA_BENCH_HOST") .. "\\r\\n\\r\\n"
local at = tonumber(os.getenv("PROXIMA_BENCH_START"))
request = function()
  at = at + 1
  return head .. at .. tail
end
`;
/** The paths of a file in PROXIMA_BENCH_PATHS, in turn. */
const LISTED_PATHS = `
local tail = " HTTP/1.1\\r\\nHost: " .. os.getenv("PROXIMA_BENCH_HOST") .. "\\r\\n\\r\\n"
local requests = {}
for path in io.lines(os.getenv("PROXIMA_BENCH_PATHS")) do requests[#requests + 1] = "GET " .. path .. tail end
local at = 0
request = function()
  at = at % #requests + 1
  return requests[at]
end
`;

/** Which paths a run asks for. */
export type Paths =
  | { readonly kind: "one"; readonly path: string }
  | { readonly kind: "distinct"; readonly prefix: string; readonly start: number }
  | { readonly kind: "listed"; readonly file: string };

/** How wrk is run. */
export interface WrkOptions {
  readonly paths: Paths;
  readonly seconds: number;
  readonly connections: number;
  readonly fields?: Readonly<Record<string, string>>;
  readonly protocol?: "h1" | "h1-tls";
  readonly cpus?: string;
  readonly nice?: number;
}

/** Puts a cell's load on a peer. */
export function wrkCell(
  stage: Stage,
  running: RunningPeer,
  cell: Cell,
  seconds: number,
  prefix: string,
): Promise<LoadReport> {
  return wrk(stage, running, {
    paths: cell.path === null ? { kind: "distinct", prefix, start: 0 } : { kind: "one", path: cell.path },
    seconds,
    connections: cell.connections,
    fields: cell.fields,
    protocol: cell.protocol === "h1-tls" ? "h1-tls" : "h1",
  });
}

/** Runs wrk against a peer. */
export async function wrk(stage: Stage, running: RunningPeer, options: WrkOptions): Promise<LoadReport> {
  const { paths, fields = {} } = options;
  const env: Record<string, string> = { OPENSSL_CONF: stage.opensslConf, PROXIMA_BENCH_HOST: HOST };
  const script: string[] = [];
  if (paths.kind !== "one") {
    const file = `${stage.folder}/${paths.kind}.lua`;
    await Bun.write(file, paths.kind === "distinct" ? DISTINCT_PATHS : LISTED_PATHS);
    script.push("-s", file);
    if (paths.kind === "listed") env.PROXIMA_BENCH_PATHS = paths.file;
    else {
      env.PROXIMA_BENCH_PREFIX = paths.prefix;
      env.PROXIMA_BENCH_START = String(paths.start);
    }
  }
  const argv = [
    ...["wrk", "-t1", `-c${options.connections}`, `-d${options.seconds}s`, "--latency", "--timeout", "10s"],
    ...["-H", `Host: ${HOST}`],
    ...Object.entries(fields).flatMap(([name, value]) => ["-H", `${name}: ${value}`]),
    ...script,
    urlOf(running, options.protocol ?? "h1", paths.kind === "one" ? paths.path : "/"),
  ];
  const nice = options.nice === undefined ? {} : { nice: options.nice };
  return parseWrk(await stage.processes.run(argv, { cpus: options.cpus ?? LOAD_CPU, env, ...nice }));
}

const MICROSECONDS: Readonly<Record<string, number>> = { us: 1, ms: 1e3, s: 1e6, m: 6e7 };

/** Reads what wrk prints. Throws when it is not a report of wrk. */
export function parseWrk(text: string): LoadReport {
  const number = (pattern: RegExp): number => Number(pattern.exec(text)?.[1] ?? Number.NaN);
  const time = (share: string): number => {
    const [, value, unit = ""] =
      new RegExp(`^\\s+${share}%\\s+([\\d.]+)(us|ms|s|m)\\s*$`, "m").exec(text) ?? [];
    return Number(value ?? Number.NaN) * (MICROSECONDS[unit] ?? Number.NaN);
  };
  const requests = number(/(\d+) requests in /);
  const requestsPerSecond = number(/Requests\/sec:\s+([\d.]+)/);
  if (Number.isNaN(requests) || Number.isNaN(requestsPerSecond))
    throw new Error(`wrk printed no report: ${text.trim()}`);
  const [, ...broken] =
    /Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(text) ?? [];
  const refused = Number(/Non-2xx or 3xx responses: (\d+)/.exec(text)?.[1] ?? 0);
  return {
    requests,
    requestsPerSecond,
    p50Us: time("50"),
    p99Us: time("99"),
    failures: refused + broken.reduce((sum, count) => sum + Number(count), 0),
  };
}

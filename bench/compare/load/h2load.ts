/**
 * h2load: HTTP/2 over TLS, and HTTP/1.1 where wrk does not do; closed loop, one thread. Its summary has no percentiles; they are taken from
 * its log of every request.
 */
import { rmSync } from "node:fs";
import { join } from "node:path";
import type { Cell } from "../cells.ts";
import type { RunningPeer } from "../peers/peer.ts";
import { HOST, LOAD_CPU, type Stage } from "../stage.ts";
import { quantile } from "../statistics.ts";
import type { LoadReport } from "./report.ts";

/** Puts a cell's load on a peer. */
export async function h2loadCell(
  stage: Stage,
  running: RunningPeer,
  cell: Cell,
  seconds: number,
): Promise<LoadReport> {
  const log = join(stage.folder, "h2load.log");
  const port = cell.protocol === "h1" ? running.httpPort : running.httpsPort;
  const argv = [
    ...["h2load", "-t1", "-c", String(cell.connections), "-m", String(cell.streams), "-D", String(seconds)],
    ...(cell.protocol === "h2" ? [] : ["--h1"]),
    ...["--tls13-ciphers=TLS_AES_128_GCM_SHA256", `--log-file=${log}`],
    ...Object.entries(cell.fields).flatMap(([name, value]) => ["-H", `${name}: ${value}`]),
    `--connect-to=127.0.0.1:${port}`,
    `${cell.protocol === "h1" ? "http" : "https"}://${HOST}:${port}${cell.path ?? "/"}`,
  ];
  try {
    const text = await stage.processes.run(argv, {
      cpus: LOAD_CPU,
      env: { OPENSSL_CONF: stage.opensslConf },
    });
    return parseH2load(text, await Bun.file(log).text(), cell.protocol === "h2" ? "h2" : "http/1.1");
  } finally {
    rmSync(log, { force: true });
  }
}

/** Reads what h2load prints, and its log. Throws when it is not a report of h2load, or of another protocol than `wanted`. */
export function parseH2load(text: string, log: string, wanted: "h2" | "http/1.1"): LoadReport {
  const rate = /finished in [\d.]+m?s, ([\d.]+) req\/s/.exec(text);
  const counts =
    /requests: \d+ total, \d+ started, (\d+) done, \d+ succeeded, (\d+) failed, (\d+) errored, (\d+) timeout/.exec(
      text,
    );
  const statuses = /status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx/.exec(text);
  if (rate === null || counts === null || statuses === null) {
    throw new Error(`h2load printed no report: ${text.trim()}`);
  }
  const protocol = /Application protocol: (\S+)/.exec(text)?.[1];
  if (protocol !== undefined && protocol !== wanted)
    throw new Error(`h2load spoke ${protocol}, not ${wanted}`);
  const [, done, failed, errored, timedOut] = counts.map(Number);
  // Failed counts what errored, and what was answered with 4xx or 5xx: each once.
  const [, , , refused4, refused5] = statuses.map(Number);
  const failures = Math.max(
    failed ?? 0,
    (errored ?? 0) + (timedOut ?? 0) + (refused4 ?? 0) + (refused5 ?? 0),
  );
  const times = timesOf(log);
  return {
    requests: done ?? 0,
    requestsPerSecond: Number(rate[1]),
    p50Us: quantile(times, 0.5),
    p99Us: quantile(times, 0.99),
    failures,
  };
}

/** The third column: microseconds from the request to the end of its answer; sorted. */
function timesOf(log: string): Float64Array {
  const times: number[] = [];
  for (let at = 0; at < log.length; ) {
    const end = log.indexOf("\n", at);
    const stop = end < 0 ? log.length : end;
    const last = log.lastIndexOf("\t", stop - 1);
    if (last > at) times.push(Number(log.slice(last + 1, stop)));
    at = stop + 1;
  }
  return Float64Array.from(times).sort();
}

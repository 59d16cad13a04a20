/** `proxima simulate`: what a cache of some size would have missed of a log, by policy and by key. */
import { stat } from "node:fs/promises";
import { ProximaError } from "../base/errors.ts";
import { createPolicy, STORE_POLICY } from "../cache/eviction/policies.ts";
import type { PolicyName } from "../cache/eviction/policy.ts";
import { footprintBytes, type Simulated, simulate, type Trace } from "../cache/eviction/simulator.ts";
import type { QueryRule } from "../config/plan.ts";
import { type Io, plainText } from "./io.ts";
import { readLines } from "./simulate-input.ts";
import { readLogLine } from "./simulate-log.ts";
import { formatReport } from "./simulate-report.ts";
import { KEY_VARIANTS, type KeyVariant, recipeOf, TraceBuilder } from "./simulate-trace.ts";

/** A size of a cache as asked for: bytes, or a share of the footprint. */
export interface CacheSize {
  readonly text: string;
  readonly bytes: number | null;
  /** 0 to 1; null when `bytes` is given. */
  readonly share: number | null;
}

/** Options of the command. */
export interface SimulateOptions {
  readonly log: string;
  readonly cache: readonly CacheSize[];
  readonly policy: readonly PolicyName[];
  readonly stripTracking?: boolean;
  readonly query: QueryRule;
  readonly json?: boolean;
}

/** What the lines of a log were. */
export interface LogTotals {
  lines: number;
  /** Requests that a cache is asked for; the simulation runs over them. */
  requests: number;
  uncacheable: number;
  malformed: number;
  tooLong: number;
  /** Entries that Proxima could not write, by its own count. */
  dropped: number;
  /** Reading ended early: at the limit of requests or of objects. */
  cut: boolean;
}

/** Results of one policy or one key, one for each size of the cache. */
export interface SimulatedRow {
  readonly name: string;
  readonly objects: number;
  readonly footprintBytes: number;
  readonly caches: readonly {
    readonly cache: string;
    readonly cacheBytes: number;
    readonly objectMissRatio: number;
    readonly byteMissRatio: number;
  }[];
  /** What a cache without a limit misses: the first request of each object. */
  readonly unlimited: { readonly objectMissRatio: number; readonly byteMissRatio: number };
}

/** Everything that the command found out. */
export interface SimulateReport {
  readonly log: LogTotals;
  /** Share of all readable requests that a cache is asked for, 0 to 1. */
  readonly cacheableShare: number;
  /** The key of the table by policy. */
  readonly key: string;
  readonly objects: number;
  readonly footprintBytes: number;
  /** Bytes of all cacheable answers. */
  readonly answerBytes: number;
  readonly policies: readonly SimulatedRow[];
  /** The policy of the table by key. */
  readonly keyPolicy: PolicyName;
  readonly keys: readonly SimulatedRow[];
}

const PROGRESS_MS = 100;

/** Runs the command. Rejects with a ProximaError when the log can not be read or has nothing to simulate. */
export async function simulateCommand(options: SimulateOptions, io: Io): Promise<void> {
  const progress = progressOf(io);
  try {
    const asked = askedVariant(options);
    const variants = KEY_VARIANTS.some(({ name }) => name === asked.name)
      ? KEY_VARIANTS
      : [...KEY_VARIANTS, asked];
    const builders = variants.map((variant) => new TraceBuilder(variant));
    const log = await readLog(options.log, builders, progress);
    const report = runAll(options, log, asked, builders, progress);
    progress(null);
    io.out(options.json === true ? `${JSON.stringify(report, null, 2)}\n` : formatReport(report, io.color));
  } finally {
    progress(null);
  }
}

/** The key that the options ask for: one of those always compared, or one of its own. */
function askedVariant({ query, stripTracking = false }: SimulateOptions): KeyVariant {
  const [asLogged, , stripped, ignored] = KEY_VARIANTS;
  if (query.kind === "none" && ignored !== undefined) return ignored;
  if (query.kind === "all") return stripTracking && stripped !== undefined ? stripped : asLogged;
  return { name: "as asked", recipe: recipeOf(query, { stripTracking, sortQuery: true }) };
}

async function readLog(
  file: string,
  builders: readonly TraceBuilder[],
  progress: Progress,
): Promise<LogTotals> {
  const totals: LogTotals = {
    lines: 0,
    requests: 0,
    uncacheable: 0,
    malformed: 0,
    tooLong: 0,
    dropped: 0,
    cut: false,
  };
  const fileBytes = file === "-" ? 0 : ((await stat(file).catch(() => null))?.size ?? 0);
  reading: for await (const { lines, tooLong, readBytes } of readLines(file)) {
    totals.tooLong += tooLong;
    totals.lines += tooLong;
    for (const line of lines) {
      const read = readLogLine(line);
      if (read.kind === "empty") continue;
      totals.lines++;
      if (read.kind === "request") {
        // The first key tells the most apart: what it has room for, the others have.
        if (!builders.every((builder) => builder.add(read))) {
          totals.cut = true;
          totals.lines--;
          break reading;
        }
        totals.requests++;
      } else if (read.kind === "dropped") totals.dropped += read.count;
      else totals[read.kind]++;
    }
    const part = fileBytes > 0 ? `, ${Math.min(100, Math.floor((readBytes / fileBytes) * 100))} %` : "";
    progress(`reading: ${totals.lines.toLocaleString("en")} lines${part}`);
  }
  if (totals.requests > 0) return totals;
  const name = file === "-" ? "standard input" : JSON.stringify(plainText(file));
  throw new ProximaError(
    "log_empty",
    totals.uncacheable > 0
      ? `none of the ${totals.uncacheable} requests in ${name} is one that a cache may answer`
      : totals.lines === 0
        ? `${name} has no lines`
        : `no line of ${name} could be read; expected are Proxima's JSON lines, or the common or combined format of nginx and Apache`,
    { source: "node" },
  );
}

function runAll(
  options: SimulateOptions,
  log: LogTotals,
  asked: KeyVariant,
  builders: readonly TraceBuilder[],
  progress: Progress,
): SimulateReport {
  const keyPolicy = options.policy.includes(STORE_POLICY)
    ? STORE_POLICY
    : (options.policy[0] ?? STORE_POLICY);
  const built = builders.map((builder) => ({ variant: builder.variant, trace: builder.build() }));
  const chosen = built.find(({ variant }) => variant.name === asked.name) ?? built[0];
  if (chosen === undefined) throw new Error("there is always a key to compare");
  const footprint = footprintBytes(chosen.trace);
  // A share is of the asked key's footprint in both tables, so that their columns mean the same.
  const sizes = options.cache.map(({ text, bytes, share }) => ({
    text,
    bytes: bytes ?? Math.floor(footprint * (share ?? 0)),
  }));
  const rowOf = (name: string, policy: PolicyName, trace: Trace): SimulatedRow => ({
    name,
    objects: trace.sizes.length,
    footprintBytes: footprintBytes(trace),
    caches: sizes.map(({ text, bytes }) => {
      const show = (done: number) =>
        progress(`simulating: ${name}, ${text}, ${Math.floor((done / trace.objects.length) * 100)} %`);
      show(0);
      const { objectMissRatio, byteMissRatio } = simulate(trace, createPolicy(policy, bytes), bytes, show);
      return { cache: text, cacheBytes: bytes, objectMissRatio, byteMissRatio };
    }),
    unlimited: unlimitedOf(trace),
  });
  const policies = options.policy.map((policy) => rowOf(policy, policy, chosen.trace));
  const keys = built.map(({ variant, trace }) => {
    const known = variant === chosen.variant ? policies.find(({ name }) => name === keyPolicy) : undefined;
    return known === undefined ? rowOf(variant.name, keyPolicy, trace) : { ...known, name: variant.name };
  });
  return {
    log,
    cacheableShare: log.requests / (log.requests + log.uncacheable),
    key: chosen.variant.name,
    objects: chosen.trace.sizes.length,
    footprintBytes: footprint,
    answerBytes: answerBytesOf(chosen.trace),
    policies,
    keyPolicy,
    keys,
  };
}

function unlimitedOf(trace: Trace): Pick<Simulated, "objectMissRatio" | "byteMissRatio"> {
  let firstBytes = 0;
  for (const size of trace.sizes) firstBytes += size;
  const bytes = answerBytesOf(trace);
  return {
    objectMissRatio: trace.sizes.length / trace.objects.length,
    byteMissRatio: bytes === 0 ? 0 : firstBytes / bytes,
  };
}

function answerBytesOf(trace: Trace): number {
  let bytes = 0;
  for (const object of trace.objects) bytes += trace.sizes[object] as number;
  return bytes;
}

/** Shows where the command is; null takes it away again. */
type Progress = (text: string | null) => void;

function progressOf(io: Io): Progress {
  if (process.stderr.isTTY !== true) return () => {};
  let shownMs = Number.NEGATIVE_INFINITY;
  let shown = false;
  return (text) => {
    if (text === null) {
      if (shown) io.err("\r\u001b[K");
      shown = false;
      return;
    }
    const nowMs = performance.now();
    if (nowMs - shownMs < PROGRESS_MS) return;
    shownMs = nowMs;
    shown = true;
    io.err(`\r\u001b[K${text}`);
  };
}

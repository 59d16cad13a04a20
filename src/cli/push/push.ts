/**
 * `proxima push`: a folder becomes a release of a zone, and the release what viewers get, in one step at the
 * end. Content goes by its hash, so a push that was interrupted goes on where it was when it is run again.
 */
import { randomUUID } from "node:crypto";
import { ProximaError } from "../../base/errors.ts";
import { isRecord } from "../control-client.ts";
import { SilentExit, UsageError } from "../failure.ts";
import { FleetClient, type FleetOptions, shown } from "../fleet/client.ts";
import { onInterrupt } from "../interrupt.ts";
import { type Io, plainText, styleFor } from "../io.ts";
import { formatProgress, progressLine } from "../warm/progress.ts";
import { type Preposition, preposition } from "./preposition.ts";
import { scan } from "./scan.ts";
import { again, each, type HashedFile, hashed, missing, send } from "./upload.ts";

/** Options of the command. */
export interface PushOptions extends FleetOptions {
  readonly zone: string;
  readonly note: string;
  readonly ignore: readonly string[];
  readonly concurrency: number;
  readonly activate: boolean;
  readonly wait: number;
  readonly edge: readonly URL[];
  readonly host?: string;
}

const HASHED_AT_ONCE = 4;
const RELEASE_MS_MAX = 120_000;

/** Runs the command. */
export async function pushCommand(folder: string, options: PushOptions, io: Io): Promise<void> {
  if (options.edge.length > 0 && options.host === undefined)
    throw new UsageError("--edge needs --host: under which name viewers ask for the files");
  const client = new FleetClient(options.control, io);
  const stop = new AbortController();
  const release = onInterrupt((why) => stop.abort(new Error(`ended by ${why}`)));
  const startMs = performance.now();
  const line = progressLine(io);
  try {
    const found = await scan(folder, options.ignore);
    // A build that failed leaves an empty folder: viewers would lose all they have.
    if (found.files.length === 0)
      throw new UsageError(
        `folder ${plainText(folder)} holds no file to push${found.leftOut > 0 ? ` (${found.leftOut} left out)` : ""}: nothing was changed`,
      );
    const files: HashedFile[] = [];
    await each(found.files, HASHED_AT_ONCE, async (file) => {
      stop.signal.throwIfAborted();
      files.push(await hashed(file));
    });
    const wanted = await missing(client, options.zone, files);
    const bytes = wanted.reduce((sum, file) => sum + file.bytes, 0);
    if (options.json !== true)
      io.err(
        `${counted(files.length, "file")}, ${wanted.length} to upload (${sizeText(bytes)})${found.leftOut > 0 ? `, ${found.leftOut} left out` : ""}\n`,
      );
    let done = 0;
    await each(wanted, options.concurrency, async (file) => {
      stop.signal.throwIfAborted();
      await send(options.control, options.zone, file, io, stop.signal);
      done++;
      line.show((columns) =>
        formatProgress(
          { done, total: wanted.length, failed: 0, elapsedMs: performance.now() - startMs },
          columns,
          io.color,
        ),
      );
    });
    line.clear();
    stop.signal.throwIfAborted();
    // Sent again when the answer is lost: what somebody else has made current meanwhile (a rollback) must stay so.
    const idempotencyKey = randomUUID();
    const answer = await again(() =>
      client.ask({
        method: "POST",
        path: `/v1/zones/${encodeURIComponent(options.zone)}/releases`,
        body: {
          files: files.map(({ path, hash, bytes }) => ({ path, hash, bytes })),
          note: options.note,
          activate: options.activate,
        },
        idempotencyKey,
        timeoutMs: RELEASE_MS_MAX,
      }),
    );
    const places = await waitForPurges(client, answer, options.wait);
    const filled = await preposition(answer, options, stop.signal);
    report(io, options, {
      answer,
      uploaded: wanted.length,
      bytes,
      places,
      filled,
      seconds: (performance.now() - startMs) / 1_000,
    });
    if (places.late.length > 0 || filled.some(({ failed }) => failed > 0)) throw new SilentExit(1);
  } catch (error) {
    if (stop.signal.aborted && !(error instanceof SilentExit))
      throw new ProximaError(
        "push_interrupted",
        "the push was ended before the release was made: viewers get what they got before; run it again to go on",
        { source: "node", cause: error },
      );
    throw error;
  } finally {
    line.clear();
    release();
  }
}

/** Which nodes show a release. */
export interface Places {
  readonly nodes: number;
  readonly appliedAfterMs: number;
  /** Nodes that have not said that they show it. */
  readonly late: readonly string[];
}

/** Waits until every node that can be reached shows what has changed. */
export async function waitForPurges(
  client: FleetClient,
  answer: Record<string, unknown>,
  seconds: number,
): Promise<Places> {
  const late = new Set<string>();
  const nodes = new Set<string>();
  let appliedAfterMs = 0;
  for (const id of Array.isArray(answer.purges) ? answer.purges : []) {
    const purge = await client.ask({
      path: `/v1/purges/${encodeURIComponent(String(id))}${seconds > 0 ? `?wait=applied&seconds=${Math.min(60, seconds)}` : ""}`,
      timeoutMs: seconds * 1_000 + 30_000,
    });
    appliedAfterMs = Math.max(appliedAfterMs, Number(purge.appliedAfterMs ?? 0));
    for (const node of Array.isArray(purge.nodes) ? purge.nodes.filter(isRecord) : []) {
      nodes.add(shown(node.name));
      if (node.appliedAt === null && seconds > 0) late.add(shown(node.name));
    }
  }
  return { nodes: nodes.size, appliedAfterMs, late: [...late] };
}

function report(
  io: Io,
  options: PushOptions,
  what: {
    readonly answer: Record<string, unknown>;
    readonly uploaded: number;
    readonly bytes: number;
    readonly places: Places;
    readonly filled: readonly Preposition[];
    readonly seconds: number;
  },
): void {
  const { answer, uploaded, bytes, places, filled, seconds } = what;
  if (options.json === true) {
    io.out(
      `${JSON.stringify({ ...answer, uploaded, uploadedBytes: bytes, ...places, filled, seconds: Math.round(seconds * 10) / 10 }, null, 2)}\n`,
    );
    return;
  }
  io.out(`${activationText(answer, places, io.color, options.activate)}\n`);
  for (const { edge, asked, failed } of filled)
    io.out(
      `  ${edge}: ${counted(asked - failed, "file")} in place${failed > 0 ? `, ${failed} failed` : ""}\n`,
    );
}

/** What making a release current has changed, for a person. */
export function activationText(
  answer: Record<string, unknown>,
  places: Places,
  color: boolean,
  isCurrent = true,
): string {
  const release = isRecord(answer.release) ? answer.release : {};
  const name = `release ${shown(release.number)} of ${shown(release.zone)}`;
  if (!isCurrent)
    return `${styleFor(color).bold(name)} is made: ${counted(Number(release.files), "file")}; proxima releases activate makes it current`;
  const changes = Number(answer.changedCount) + Number(answer.removedCount);
  if (changes === 0) return `${styleFor(color).bold(name)} is current already`;
  const where =
    places.nodes === 0
      ? "no node shows the zone"
      : places.late.length > 0
        ? `not on ${places.late.join(", ")} yet`
        : `on ${counted(places.nodes, "node")} after ${places.appliedAfterMs} ms`;
  return `${styleFor(color).bold(`${name} is current`)}: ${shown(answer.changedCount)} changed, ${shown(answer.removedCount)} removed; ${where}`;
}

function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? "" : "s"}`;
}

function sizeText(bytes: number): string {
  if (bytes < 1_000) return `${bytes} B`;
  const units = ["kB", "MB", "GB", "TB"];
  let value = bytes / 1_000;
  let unit = 0;
  while (value >= 1_000 && unit < units.length - 1) {
    value /= 1_000;
    unit++;
  }
  return `${value.toFixed(1)} ${units[unit]}`;
}

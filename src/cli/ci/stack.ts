/**
 * A whole CDN on one machine, in one process: a control plane, a shield, and an edge for each PoP, each with
 * a data directory, a cache, a clock and listeners of its own, speaking with each other over loopback as they
 * would over a network. One process starts in a fraction of a second and leaves nothing behind, however it
 * ends (docs/decisions/0027).
 */
import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { type ClockSetting, MovableClock, systemClock } from "../../base/clock.ts";
import { messageOf, ProximaError } from "../../base/errors.ts";
import type { ListenAddress } from "../../config/address.ts";
import { parseConfig } from "../../config/parse.ts";
import { type ControlPlane, startControlPlane } from "../../control/control-plane.ts";
import { takeoverHosts } from "../../control/takeover.ts";
import { type SiteIds, siteIds } from "../../control/vendors/site-ids.ts";
import { type CreateEdge, type RunningNode, startNode } from "../../node/node.ts";
import { formatAddress } from "../../service/listen-error.ts";
import type { NodeLog } from "../../service/log.ts";
import type { Service } from "../../service/signals.ts";
import { guardedPost } from "../../upstream/guarded-post.ts";
import { openStorage } from "../control-storage.ts";
import { onLoopback } from "../option-values.ts";
import { mustParse } from "../serve.ts";
import { takeoverAt } from "../takeover.ts";
import { VERSION } from "../version.ts";
import { type CiFolder, makeCiFolder } from "./folder.ts";
import type { CiSites } from "./sites.ts";
import { CI_ACCESS_KEY, CI_TOKEN } from "./token.ts";

/** How a run is set up. */
export interface CiOptions {
  readonly pops: readonly string[];
  readonly shield: boolean;
  readonly sites: CiSites;
  /** Address of the first PoP, the others have the ports above it; with port 0 each has a free one. */
  readonly http: ListenAddress;
  /** Address of the control plane. */
  readonly control: ListenAddress;
  /** Where vendors' own hosts are answered for; null for nowhere. */
  readonly takeover: ListenAddress | null;
  /** Most memory of each cache, in bytes. */
  readonly memoryBytesMax: number;
  /** When the run's time begins, in milliseconds since the epoch; null for now. */
  readonly startMs: number | null;
  readonly createEdge: CreateEdge;
  readonly log: NodeLog;
}

/** Where a node of a run listens. */
export interface CiNode {
  readonly url: string;
  /** Its own API. */
  readonly control: string;
}

/** A run. */
export interface CiStack extends Service {
  readonly control: string;
  readonly token: string;
  readonly accessKey: typeof CI_ACCESS_KEY;
  /** Push storage, in the shapes of S3 and Bunny. */
  readonly storage: string;
  /** Ids of the sites as the vendors' clients have them. */
  readonly sites: Readonly<Record<string, SiteIds>>;
  /** What clients have to trust, and where the hosts are to lead. */
  readonly takeover: {
    readonly url: string;
    readonly caFile: string;
    readonly hosts: readonly string[];
  } | null;
  readonly pops: Readonly<Record<string, CiNode>>;
  readonly shield: CiNode | null;
  readonly dataDir: string;
}

const LOOPBACK = "127.0.0.1";
const SHIELD = "shield";
const OBJECT_BYTES_MAX = 32 * 1024 * 1024;
/** What a test waits for does not drain longer than this, in seconds. */
const DRAIN_SECONDS = 2;
const ASK_MS_MAX = 10_000;

/** Starts a run. Rejects with a ProximaError; nothing is left behind then. */
export async function startCiStack(options: CiOptions): Promise<CiStack> {
  const folder = makeCiFolder();
  const started: { stop(): Promise<void> }[] = [];
  const stop = async (): Promise<void> => {
    // The nodes together, the control plane after them: it hears their last word.
    const [plane, ...nodes] = started;
    const ends = await Promise.allSettled(nodes.map((node) => node.stop()));
    await plane?.stop();
    folder.remove();
    for (const end of ends)
      if (end.status === "rejected") options.log("error", `ending a node: ${messageOf(end.reason)}`);
  };
  try {
    const clock = clockFrom(options.startMs);
    const plane = await startPlane(options, folder, clock());
    started.push(plane);
    const control = `http://${plane.address}`;
    await ask(control, "/v1/apply", { sites: options.sites.sites });
    const secret = folder.file("tier-secret");
    writeFileSync(secret, randomBytes(32).toString("base64"), { mode: 0o600 });
    writeFileSync(folder.file("purge-token"), CI_TOKEN, { mode: 0o600 });
    const start = async (name: string, http: string, tiers: Record<string, unknown>): Promise<CiNode> => {
      const joinToken = String((await ask(control, "/v1/join-tokens", {})).secret);
      const node = await startOne(options, { name, http, tiers, control, joinToken, folder, clock: clock() });
      started.push(node);
      return { url: `http://${node.addresses.http}`, control: `http://${node.addresses.control}` };
    };
    const shield = options.shield
      ? await start(SHIELD, `${LOOPBACK}:0`, { secret: { file: secret }, accept: true })
      : null;
    const tiers = {
      secret: { file: secret },
      ...(shield === null
        ? {}
        : {
            shields: Object.fromEntries(
              options.sites.shields.map((name) => [name, { urls: [shield.url] }] as const),
            ),
          }),
    };
    const pops = await Promise.allSettled(
      options.pops.map(
        async (name, index) => [name, await start(name, addressOf(options.http, index), tiers)] as const,
      ),
    );
    let stopping: Promise<void> | null = null;
    return {
      control,
      token: CI_TOKEN,
      accessKey: CI_ACCESS_KEY,
      storage: `http://${plane.storage}`,
      sites: Object.fromEntries(Object.keys(options.sites.sites).map((id) => [id, siteIds(id)])),
      takeover:
        plane.takeover === null
          ? null
          : { url: `https://${plane.takeover.address}`, caFile: plane.takeover.caFile, hosts: takeoverHosts },
      pops: Object.fromEntries(pops.map(settled)),
      shield,
      dataDir: folder.path,
      reload: () => Promise.resolve(),
      reopenLog: () => Promise.resolve(),
      stop() {
        stopping ??= stop();
        return stopping;
      },
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

function settled<T>(end: PromiseSettledResult<T>): T {
  if (end.status === "rejected") throw end.reason;
  return end.value;
}

/** Makes clocks that all tell the same: each node has one of its own, as it would on a machine of its own. */
function clockFrom(startMs: number | null): () => MovableClock {
  const setting: ClockSetting = {
    offsetMs: startMs === null ? 0 : startMs - systemClock.now(),
    frozenAtMs: null,
  };
  return () => new MovableClock(systemClock, setting);
}

function startPlane(options: CiOptions, folder: CiFolder, clock: MovableClock): Promise<ControlPlane> {
  const { control, takeover, log } = options;
  return startControlPlane({
    address: onLoopback(control),
    dataDir: folder.file("control"),
    tls: null,
    names: [],
    newAdminToken: false,
    // One machine, and what is tested is on it.
    sendWebhook: (url, body, fields) =>
      guardedPost(url, body, fields, { clock: systemClock, allowAddress: () => true }),
    bus: null,
    storage: openStorage({ hostname: LOOPBACK, port: 0 }, null, {
      tls: null,
      io: { env: {} },
      log,
      clock: systemClock,
    }),
    knownToken: CI_TOKEN,
    takeover: takeover === null ? null : takeoverAt(takeover, log),
    version: VERSION,
    command: "proxima dev --ci",
    clock,
    log,
  });
}

/** What differs between nodes. */
interface NodeSetup {
  readonly name: string;
  readonly http: string;
  readonly tiers: Readonly<Record<string, unknown>>;
  readonly control: string;
  readonly joinToken: string;
  readonly folder: CiFolder;
  readonly clock: MovableClock;
}

function startOne(options: CiOptions, setup: NodeSetup): Promise<RunningNode> {
  const { name, clock, folder } = setup;
  const { memoryBytesMax, sites } = options;
  const config = mustParse(
    parseConfig({
      name,
      listen: { http: setup.http, control: `${LOOPBACK}:0` },
      dataDir: folder.file(name),
      workers: 1,
      cache: { memory: memoryBytesMax, objectMax: Math.min(memoryBytesMax, OBJECT_BYTES_MAX) },
      // A test says by X-Forwarded-For where its viewer is, and by X-Forwarded-Proto how it came.
      trustedProxies: ["127.0.0.0/8", "::1/128"],
      permitted: {
        addresses: ["0.0.0.0/0", "::/0"],
        directories: sites.directories,
        secretVariables: sites.secretVariables,
      },
      tiers: setup.tiers,
      purges: { from: ["127.0.0.0/8", "::1/128"], token: { file: folder.file("purge-token") } },
      join: { control: setup.control, name },
      limits: { drainSeconds: DRAIN_SECONDS },
      sites: {},
    }),
  );
  return startNode({
    config,
    source: null,
    createEdge: options.createEdge,
    joinToken: setup.joinToken,
    control: { token: null, tls: null },
    version: VERSION,
    command: `proxima dev --ci (${name})`,
    clock,
    movableClock: clock,
    // What a run tells is what is wrong: that nodes join and follow is what it is for.
    log: (level, message) => {
      if (level !== "info") options.log(level, `${name}: ${message}`);
    },
  });
}

function addressOf({ hostname, port }: ListenAddress, index: number): string {
  const host = hostname === "" ? LOOPBACK : hostname;
  return formatAddress({ hostname: host, port: port === 0 ? 0 : port + index });
}

/** Asks the run's own control plane. */
async function ask(control: string, path: string, body: unknown): Promise<Record<string, unknown>> {
  const response = await fetch(control + path, {
    method: "POST",
    headers: { authorization: `Bearer ${CI_TOKEN}`, "content-type": "application/json" },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(ASK_MS_MAX),
  });
  const value = (await response.json()) as Record<string, unknown>;
  if (response.ok) return value;
  const problems = Array.isArray(value.problems)
    ? value.problems.map((one: { path?: unknown; message?: unknown }) => `${one.path}: ${one.message}`)
    : [];
  throw new ProximaError("ci_refused", [String(value.detail), ...problems].join("; "), { source: "node" });
}

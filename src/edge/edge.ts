/**
 * The data plane without its sockets: a snapshot in force, the store, the origins, and a handler for
 * the listeners. Everything that is counted or logged of a request is counted and logged here, when
 * it has ended.
 */
import { unreachable } from "../base/assert.ts";
import type { Clock } from "../base/clock.ts";
import { FillBudget } from "../cache/fill.ts";
import { FILL_MEMORY_SHARE } from "../cache/limits.ts";
import { PassForecast } from "../cache/pass-forecast.ts";
import { keyParts } from "../cache/purge-table.ts";
import type { DiskStore } from "../cache/store/disk/disk-store.ts";
import type { MarkGate } from "../cache/store/disk-mark.ts";
import { DiskTier } from "../cache/store/disk-tier.ts";
import { MemoryStore } from "../cache/store/memory.ts";
import { compileSite, compileSnapshot } from "../config/compile.ts";
import { HostIndex } from "../config/pattern.ts";
import type { MemoryQuota, SitePlan, Snapshot } from "../config/plan.ts";
import type { Config, SiteConfig } from "../config/schema.ts";
import type { BodyReader } from "../http/body.ts";
import type { AccessLog } from "../telemetry/access-log.ts";
import type { SiteStats, StatsSnapshot } from "../telemetry/stats.ts";
import { Stats } from "../telemetry/stats.ts";
import type { OriginEvent } from "../upstream/health/origin-event.ts";
import { type ShieldPlace, Shields } from "../upstream/shield/shields.ts";
import type { EdgeContext } from "./context.ts";
import type { Exchange } from "./exchange.ts";
import { explain } from "./explain.ts";
import type { Explanation } from "./explanation.ts";
import { Flights } from "./flights.ts";
import type { Refusal, RequestHandler, ViewerResponse } from "./message.ts";
import type { OriginPermissions } from "./origin-maker.ts";
import { Origins } from "./origins.ts";
import { countOrphans, type OrphanCount } from "./orphans.ts";
import { answerAsOwner, type OwnerReply } from "./owner-answer.ts";
import type { Broadcast, Peers } from "./peers.ts";
import type { EdgePurger } from "./phases/purge.ts";
import { Pipeline } from "./pipeline.ts";
import { EdgePurges, type NotedInvalidation } from "./purges.ts";
import type { EdgeSettings } from "./settings.ts";
import type { TierQuestion } from "./tier.ts";
import { urlKey } from "./url-key.ts";

/** What an edge is made of. */
export interface EdgeOptions {
  readonly clock: Clock;
  readonly version: string;
  readonly settings: EdgeSettings;
  readonly permissions: OriginPermissions;
  /** Limit of the memory store and of its largest object, in bytes. */
  readonly memoryBytesMax: number;
  readonly objectBytesMax: number;
  readonly accessLog: AccessLog | null;
  /** The disk behind the memory; left out when there is none. */
  readonly disk?: DiskBacking | null;
  /** Notes an invalidation for later starts, before it is applied. */
  readonly remember?: (invalidation: NotedInvalidation) => void;
  /** The other workers of the node; left out when there are none. */
  readonly peers?: Peers | null;
  /** Takes purges at the viewers' ports; left out where these are methods like any other. */
  readonly purger?: EdgePurger | null;
  /** Told what an operator has to know of an origin, such as a bucket that refuses this node. */
  readonly onOriginProblem?: (message: string) => void;
  /** The shields that this node asks, and the key that its requests to them are signed with; left out when there are none. */
  readonly shields?: { readonly places: readonly ShieldPlace[]; readonly key: Buffer } | null;
  /** Told of what becomes known of an origin here. */
  readonly onOriginEvent?: (event: OriginEvent) => void;
  /** Told of bugs: exceptions that no phase expected. */
  readonly onBug: (error: unknown) => void;
}

/** An opened disk cache. */
export interface DiskBacking {
  readonly store: DiskStore;
  readonly gate: MarkGate;
  /** Identity of the purge log. */
  readonly log: string;
}

/** A data plane. */
export class Edge {
  readonly #context: EdgeContext;
  readonly #pipeline: Pipeline;
  readonly #log: AccessLog | null;
  readonly #version: string;
  #siteStats = new Map<SitePlan | null, SiteStats>();
  #inFlight = 0;

  constructor(options: EdgeOptions) {
    const { clock } = options;
    this.#log = options.accessLog;
    this.#version = options.version;
    let disk: DiskTier | null = null;
    const store = new MemoryStore({
      bytesMax: options.memoryBytesMax,
      objectBytesMax: options.objectBytesMax,
      onRemoved: (entry) => disk?.forget(entry),
    });
    const backing = options.disk ?? null;
    if (backing !== null)
      disk = new DiskTier({
        memory: store,
        disk: backing.store,
        clock,
        holds: (entry) => purges.holds(entry),
        log: backing.log,
      });
    const flights = new Flights();
    const peers = options.peers ?? null;
    const purges = new EdgePurges({
      store,
      disk,
      flights,
      clock,
      owns: (key) => peers === null || peers.slotOf(key) === peers.slot,
      ...(options.remember === undefined ? {} : { remember: options.remember }),
    });
    if (backing !== null) backing.gate.forgotten = () => (purges.begun ? purges.forgotten : null);
    this.#context = {
      clock,
      settings: options.settings,
      store,
      disk,
      flights,
      forecast: new PassForecast(),
      purges,
      purger: options.purger ?? null,
      peers,
      fillBudget: new FillBudget(
        Math.max(options.objectBytesMax, options.memoryBytesMax * FILL_MEMORY_SHARE),
      ),
      origins: new Origins({
        clock: clock.steady,
        permissions: options.permissions,
        applied: () => purges.sequence,
        workers: options.peers?.slots ?? 1,
        tell: options.onOriginProblem ?? (() => {}),
        onEvent: options.onOriginEvent ?? (() => {}),
      }),
      shields:
        options.shields == null
          ? null
          : new Shields({
              ...options.shields,
              clock: clock.steady,
              tell: options.onOriginProblem ?? (() => {}),
            }),
      stats: new Stats(clock.steady),
      snapshot: { number: 0, sites: new Map(), hosts: new HostIndex() },
    };
    this.#pipeline = new Pipeline(this.#context, (x, response) => this.#finish(x, response), options.onBug);
  }

  /** For the listeners. */
  readonly handle: RequestHandler = (request) => {
    const answer = this.#pipeline.handle(request);
    if (!(answer instanceof Promise)) return answer;
    this.#inFlight++;
    void answer.then(this.#left, this.#left);
    return answer;
  };

  readonly #left = (): void => {
    this.#inFlight--;
  };

  /** For the listeners: what was refused without the pipeline is counted and logged all the same. */
  readonly refused = ({ status, message, peerAddress, bytes }: Refusal): void => {
    this.#statsOf(null).record("bypass", status, bytes);
    this.#log?.write({
      timeMs: this.#context.clock.now(),
      site: null,
      behavior: null,
      client: peerAddress,
      peer: peerAddress,
      // Neither is known: what was read may be anything.
      method: "-",
      scheme: "http",
      transport: "tcp",
      host: "",
      path: "",
      query: "",
      status,
      result: "bypass",
      reason: "bad-request",
      bytesSent: bytes,
      durationMs: 0,
      firstByteMs: null,
      originStatus: null,
      originMs: null,
      originName: null,
      key: null,
      userAgent: null,
      referer: null,
      requestId: null,
      error: message,
    });
  };

  /** Compiles the config's sites into the next snapshot and puts it in force. Rejects, changing nothing, when it can not. */
  async apply(config: Pick<Config, "sites">): Promise<{ readonly snapshot: number }> {
    const number = this.#context.snapshot.number + 1;
    (await this.prepare(config.sites, number))();
    return { snapshot: number };
  }

  /** Compiles sites into snapshot `number`. The function returned puts it in force. Rejects when the sites can not be used. */
  async prepare(sites: Config["sites"], number: number): Promise<() => void> {
    const context = this.#context;
    const snapshot = await compileSnapshot(sites, number, context.snapshot);
    await context.origins.prepare(snapshot);
    const quotas = quotasOf(snapshot, context.peers?.slots ?? 1);
    return () => {
      context.snapshot = snapshot;
      context.forecast.clear();
      // What is stored already is seen to in slices; what comes keeps to them at once.
      void context.store.setQuotas(quotas);
      this.#siteStats = new Map();
      context.origins.retain(snapshot);
    };
  }

  /** Answers another worker of the node; `copyPrefix` is this worker's own. */
  answerPeer(question: TierQuestion, copyPrefix: string): Promise<OwnerReply> {
    const pipeline = this.#pipeline;
    return answerAsOwner(question, {
      context: this.#context,
      refresh: (x, entry, nowMs) => pipeline.refresh(x, entry, nowMs),
      copyPrefix,
    });
  }

  /** Applies a broadcast at its place in the node's order; returns how many stored responses went at once. */
  applyBroadcast(message: Broadcast, sequence: number): number {
    const { purges, peers } = this.#context;
    let count = 0;
    switch (message.kind) {
      case "invalidate":
        count = purges.invalidate(message, sequence);
        break;
      case "purge":
        purges.apply(message.purge);
        break;
      default:
        unreachable(message);
    }
    peers?.moved();
    return count;
  }

  /** The purges of this edge. */
  get purges(): EdgePurges {
    return this.#context.purges;
  }

  /** What a URL is purged by on a site: its key without the scheme; null when the site does not serve it. */
  urlTarget(site: string, url: string): string | null {
    const plan = this.#context.snapshot.sites.get(site);
    const key = plan === undefined ? null : urlKey(plan, new URL(url));
    return key === null ? null : keyParts(key).url;
  }

  /** True where capitals do not count in the tags of a site. */
  foldsTags(site: string): boolean {
    return this.#context.snapshot.sites.get(site)?.foldsTags === true;
  }

  /** What is wrong and does not keep it from serving, in sentences. */
  problems(): readonly string[] {
    return this.#context.disk?.problems ?? [];
  }

  /** The origins in force. */
  get origins(): Origins {
    return this.#context.origins;
  }

  /** Ids of the sites in force. */
  siteIds(): string[] {
    return [...this.#context.snapshot.sites.keys()];
  }

  explain(
    url: string,
    options: { readonly method?: string; readonly headers?: Readonly<Record<string, string>> },
  ): Explanation {
    return explain(this.#context, url, options);
  }

  /** What of a site's stored responses another config of it would never find; empty for a site that is not in force. */
  async orphans(site: string, config: SiteConfig): Promise<OrphanCount[]> {
    const { store, disk, snapshot, peers } = this.#context;
    const before = snapshot.sites.get(site);
    if (before === undefined) return [];
    const owns = (key: string): boolean => peers === null || peers.slotOf(key) === peers.slot;
    return await countOrphans({ store, disk, owns }, before, compileSite(site, config, ""));
  }

  stats(): StatsSnapshot {
    const { store, disk, snapshot, stats } = this.#context;
    return stats.snapshot({
      version: this.#version,
      snapshotNumber: snapshot.number,
      sites: snapshot.sites.size,
      store: store.stats(),
      disk: disk?.stats() ?? null,
      siteStores: store.siteStats(),
      workers: { up: 1, down: 0 },
      accessLog: { written: this.#log?.written ?? 0, dropped: this.#log?.dropped ?? 0 },
      requestsInFlight: this.#inFlight,
      upstream: this.#context.origins.reports(),
    });
  }

  /** Closes connections to origins, writes what waits for the disk, and gives that back. */
  async close(): Promise<void> {
    const { origins, shields, purges, disk } = this.#context;
    origins.close();
    shields?.close();
    purges.close();
    await disk?.close();
  }

  #finish(x: Exchange, response: ViewerResponse): ViewerResponse {
    if (response.partOf !== undefined) {
      this.#ended(x, response.status, response.partOf.size, null);
      return response;
    }
    const { body } = response;
    if (body === null || body instanceof Uint8Array || body instanceof Blob) {
      const bytes = body === null ? 0 : body instanceof Uint8Array ? body.byteLength : body.size;
      this.#ended(x, response.status, bytes, null);
      return response;
    }
    return { ...response, body: this.#counted(x, response.status, body) };
  }

  #counted(x: Exchange, status: number, body: BodyReader): BodyReader {
    this.#inFlight++;
    return countingBody(body, (bytes, error) => {
      this.#inFlight--;
      this.#ended(x, status, bytes, error);
    });
  }

  #ended(x: Exchange, status: number, bytes: number, error: string | null): void {
    const durationMs = this.#context.clock.now() - x.startMs;
    const stats = this.#statsOf(x.site);
    stats.record(x.result, status, bytes, durationMs);
    if (x.collapsed || x.collapsedAtOwner) stats.recordCollapsed();
    if (error !== null && error !== "viewer_gone") stats.recordBroken();
    this.#log?.write({
      timeMs: x.startMs,
      site: x.site?.id ?? null,
      behavior: x.behavior?.pattern.source ?? null,
      client: x.client,
      peer: x.request.peerAddress,
      method: x.method,
      scheme: x.scheme,
      transport: x.request.http3 ? "h3" : "tcp",
      host: x.authority,
      path: x.path,
      query: x.query ?? "",
      status,
      result: x.result,
      reason: x.reason,
      bytesSent: bytes,
      durationMs,
      firstByteMs: null,
      originStatus: x.upstream?.status ?? null,
      originMs: x.upstream?.durationMs ?? null,
      originName: x.upstream?.name ?? null,
      key: x.base === "" ? null : x.base,
      userAgent: x.request.fields.get("user-agent"),
      referer: x.request.fields.get("referer"),
      requestId: null,
      error: error ?? x.upstream?.error ?? null,
    });
  }

  #statsOf(site: SitePlan | null): SiteStats {
    let stats = this.#siteStats.get(site);
    if (stats === undefined) {
      stats = this.#context.stats.site(site?.id ?? null);
      this.#siteStats.set(site, stats);
    }
    return stats;
  }
}

/** The sites' parts of the memory of one of `workers` that share it. */
function quotasOf(snapshot: Snapshot, workers: number): ReadonlyMap<string, MemoryQuota> {
  const quotas = new Map<string, MemoryQuota>();
  for (const { id, quota } of snapshot.sites.values()) {
    if (quota === null) continue;
    const { bytesMax, bytesReserved } = quota;
    quotas.set(id, {
      bytesMax: bytesMax === null ? null : Math.floor(bytesMax / workers),
      bytesReserved: Math.floor(bytesReserved / workers),
    });
  }
  return quotas;
}

/** A body that tells, once, how many bytes went out and how it ended. */
function countingBody(body: BodyReader, ended: (bytes: number, error: string | null) => void): BodyReader {
  let bytes = 0;
  let open = true;
  const end = (error: string | null): void => {
    if (!open) return;
    open = false;
    ended(bytes, error);
  };
  return {
    async read() {
      try {
        const piece = await body.read();
        if (piece === null) end(null);
        else bytes += piece.byteLength;
        return piece;
      } catch (error) {
        end(error instanceof Error && "code" in error ? String(error.code) : "broken");
        throw error;
      }
    },
    cancel() {
      body.cancel();
      end("viewer_gone");
    },
  };
}

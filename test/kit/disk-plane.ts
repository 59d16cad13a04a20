/**
 * A data plane with a disk in the test's own process, without sockets: the disk's files can be held at any
 * operation, and what a kill would leave at this moment is a copy of the folder.
 */
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ManualClock } from "../../src/base/clock.ts";
import type { Purge } from "../../src/cache/purge-table.ts";
import { shardOf } from "../../src/cache/shard.ts";
import { DiskStore } from "../../src/cache/store/disk/disk-store.ts";
import { type DiskFiles, systemFiles } from "../../src/cache/store/disk/files.ts";
import { MarkGate } from "../../src/cache/store/disk-mark.ts";
import type { SiteInput } from "../../src/config/types.ts";
import type { Edge as DataPlane } from "../../src/edge/edge.ts";
import { bodyOf } from "../../src/http/body.ts";
import { Fields } from "../../src/http/fields.ts";
import { makePlane } from "../../src/node/plane.ts";
import type { NewPurge, PurgeLog } from "../../src/node/purge-log.ts";
import { openHistory, testConfig } from "./edge.ts";

/** Holds file operations of one kind until it is released. */
export class Hold {
  #gate: PromiseWithResolvers<void> | null = null;
  #reached = Promise.withResolvers<void>();

  /** From now on operations wait. */
  close(): void {
    this.#gate ??= Promise.withResolvers<void>();
    this.#reached = Promise.withResolvers<void>();
  }

  /** Resolves when one waits. */
  get reached(): Promise<void> {
    return this.#reached.promise;
  }

  open(): void {
    this.#gate?.resolve();
    this.#gate = null;
  }

  async pass(): Promise<void> {
    if (this.#gate === null) return;
    this.#reached.resolve();
    await this.#gate.promise;
  }
}

/** What a request came to. */
export interface PlaneAnswer {
  readonly status: number;
  readonly cache: string;
  readonly body: string;
}

/** Options of a plane. */
export interface PlaneOptions {
  /** URL of the only origin. */
  readonly origin: string;
  readonly clock: ManualClock;
  /** Names and sites; one site "test" for every host when left out. */
  readonly sites?: Record<string, SiteInput>;
  readonly memory?: `${number}MiB`;
  /** Base keys whose shards are open, to be quick; all shards when left out. */
  readonly keys?: readonly string[];
}

/** A data plane over a folder. */
export class DiskPlane {
  readonly folder: string;
  readonly log: PurgeLog;
  readonly plane: DataPlane;
  readonly problems: string[];
  readonly reads: Hold;
  readonly writes: Hold;
  readonly #options: PlaneOptions;
  readonly #closeLogs: () => void;
  readonly #store: DiskStore;

  private constructor(made: {
    folder: string;
    options: PlaneOptions;
    plane: DataPlane;
    store: DiskStore;
    log: PurgeLog;
    closeLogs: () => void;
    problems: string[];
    reads: Hold;
    writes: Hold;
  }) {
    this.folder = made.folder;
    this.log = made.log;
    this.plane = made.plane;
    this.problems = made.problems;
    this.reads = made.reads;
    this.writes = made.writes;
    this.#options = made.options;
    this.#store = made.store;
    this.#closeLogs = made.closeLogs;
  }

  /** Opens a plane over a folder: a new one when it is left out. */
  static async open(
    options: PlaneOptions,
    folder = mkdtempSync(join(tmpdir(), "proxima-plane-")),
  ): Promise<DiskPlane> {
    const { clock, origin, sites, memory = "64MiB", keys } = options;
    const problems: string[] = [];
    const [reads, writes] = [new Hold(), new Hold()];
    const files: DiskFiles = {
      ...systemFiles,
      async read(...how) {
        await reads.pass();
        return systemFiles.read(...how);
      },
      async write(...how) {
        await writes.pass();
        return systemFiles.write(...how);
      },
    };
    const { history, log, close } = openHistory(folder);
    const config = testConfig(
      {
        origin,
        config: { cache: { memory, disk: { size: "1GiB" } }, ...(sites === undefined ? {} : { sites }) },
      },
      folder,
    );
    const gate = new MarkGate(history.limits());
    const store = await DiskStore.open({
      path: join(folder, "cache"),
      bytesMax: 2 ** 30,
      ...(keys === undefined ? {} : { shards: keys.map(shardOf) }),
      clock,
      files,
      accept: (mark) => gate.accept(mark),
      onProblem: (message) => problems.push(message),
    });
    const { plane } = makePlane({
      config,
      version: "0.0.0-test",
      clock,
      log: (_level, message) => problems.push(message),
      loopId: "proxima-test",
      controlPort: () => null,
      memoryBytesMax: config.cache.memory,
      disk: { store, gate, log: history.limits().log },
      remember: (invalidation) => history.remember(invalidation),
      peers: null,
      onOriginEvent: () => undefined,
      tiers: null,
    });
    const now = history.limits().newest;
    plane.purges.begin(gate.floor, history.since(gate.floor), now);
    await plane.apply(config);
    return new DiskPlane({ folder, options, plane, store, log, closeLogs: close, problems, reads, writes });
  }

  /** One exchange, its body read whole. */
  async ask(url: string, headers: Record<string, string> = {}, method = "GET"): Promise<PlaneAnswer> {
    const full = url.startsWith("http:") ? url : `http://site.test${url}`;
    const answer = await this.plane.handle({
      method,
      scheme: "http",
      http3: false,
      url: full,
      fields: new Fields(Object.entries({ host: new URL(full).host, ...headers }).flat()),
      peerAddress: "127.0.0.1",
      body: () => null,
      signal: new AbortController().signal,
    });
    if ("kind" in answer) throw new Error("an upgrade");
    const { body, status } = answer;
    const source =
      body === null ? bodyOf(new Uint8Array(0)) : body instanceof Uint8Array ? bodyOf(body) : body;
    const pieces: Uint8Array[] = [];
    if (source instanceof Blob) pieces.push(await source.bytes());
    else
      for (let piece = await source.read(); piece !== null; piece = await source.read()) pieces.push(piece);
    return {
      status,
      cache: answer.fields.get("x-cache") ?? "",
      body: Buffer.concat(pieces).toString("latin1"),
    };
  }

  /** Logs and applies a purge, as a node does; what was asked for before it was asked for then. */
  purge(purge: Partial<NewPurge>): Purge {
    const { entry } = this.log.append(
      {
        site: "test",
        scope: "everything",
        targets: [],
        mode: "hard",
        acceptedMs: this.#options.clock.now(),
        ...purge,
      },
      null,
    );
    this.plane.purges.apply(entry);
    return entry;
  }

  /** Resolves when what is written has been, and every purge was swept. */
  async settled(): Promise<void> {
    await this.plane.purges.settled();
    let puts = -1;
    // Writes are a few turns each; the counters say when they are over.
    for (let still = 0; still < 20; ) {
      const { puts: now, refused } = this.#store.stats();
      still = puts === now + refused ? still + 1 : 0;
      puts = now + refused;
      await Bun.sleep(1);
    }
  }

  /** A plane over what a kill at this very moment would leave; `change` may do something to the files before. */
  async killed(change: (folder: string) => void = () => undefined): Promise<DiskPlane> {
    const folder = mkdtempSync(join(tmpdir(), "proxima-plane-"));
    cpSync(this.folder, folder, { recursive: true });
    change(folder);
    return await DiskPlane.open(this.#options, folder);
  }

  /** Ends it in good order; the folder stays for the next one. */
  async close(): Promise<void> {
    this.reads.open();
    this.writes.open();
    await this.plane.close();
    this.#closeLogs();
  }

  /** Ends it and removes its folder. */
  async remove(): Promise<void> {
    await this.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

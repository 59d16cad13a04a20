/** An edge with a disk cache as a program of its own, which tests stop, kill and start again on the same data. */

import { shardOf, shardOwners } from "../../src/cache/shard.ts";
import type { ConfigInput, SiteInput } from "../../src/config/types.ts";
import { childrenOf } from "./processes.ts";
import type { Program, Programs } from "./program.ts";
import type { RawAnswer } from "./raw-viewer.ts";
import { type Ask, WorkerViewer } from "./worker-viewer.ts";

const WAIT_MS = 10_000;

/** Waits for something that another process does; rejects when 10 s pass without it. */
export async function until(what: string, check: () => boolean | Promise<boolean>): Promise<void> {
  const endMs = Date.now() + WAIT_MS;
  while (!(await check())) {
    if (Date.now() > endMs) throw new Error(`10 s passed before ${what}`);
    await Bun.sleep(5);
  }
}

/** What a purge came to. */
export interface PurgeReport {
  readonly id: string;
  readonly sequence: number;
  readonly counted: number | null;
}

/** The edge, over all its starts. */
export class DiskEdge {
  readonly #all: Programs;
  readonly #config: ConfigInput;
  readonly host: string;
  #program: Program | null = null;
  #addresses: Awaited<ReturnType<Program["addresses"]>> | null = null;
  #viewers: WorkerViewer[] = [];
  workers = 0;
  /** Since its last start. */
  killed = false;

  /** `host` is the Host of requests that name no other. */
  constructor(
    all: Programs,
    sites: Record<string, SiteInput>,
    host: string,
    config: Partial<ConfigInput> = {},
  ) {
    this.#all = all;
    this.host = host;
    this.#config = {
      dataDir: "data",
      listen: { http: "127.0.0.1:0", control: "127.0.0.1:0" },
      cache: { disk: { size: "4GiB" } },
      ...config,
      sites,
    };
  }

  /** Starts it with so many workers; returns how long it took until it listened, in milliseconds. */
  async start(workers: number): Promise<number> {
    const file = await this.#all.write("edge.json", JSON.stringify({ ...this.#config, workers }));
    const startMs = performance.now();
    this.workers = workers;
    this.killed = false;
    this.#program = this.#all.start(["edge", "--config", file]);
    this.#addresses = await this.#program.addresses();
    return performance.now() - startMs;
  }

  get program(): Program {
    if (this.#program === null) throw new Error("the edge was not started");
    return this.#program;
  }

  get port(): number {
    return this.#addresses?.httpPort ?? 0;
  }

  get control(): string {
    return this.#addresses?.control ?? "";
  }

  /** Ends it in good order. */
  async stop(): Promise<void> {
    this.#leave();
    this.program.kill("SIGTERM");
    await this.program.end();
  }

  /** kill -9; the next start does not wait for the workers to notice. */
  async kill(): Promise<void> {
    this.killed = true;
    this.program.kill("SIGKILL");
    await this.program.child.exited;
    this.#leave();
  }

  /** Process of a slot; right as long as no worker was replaced. With one worker the program itself. */
  pidOf(slot: number): number {
    if (this.workers === 1) return this.program.pid;
    const pid = childrenOf(this.program.pid)[slot];
    if (pid === undefined) throw new Error(`there is no worker ${slot}`);
    return pid;
  }

  /** Slot of the worker that owns a path. */
  ownerOf(path: string, site = "main", host = this.host): number {
    return shardOwners(this.workers)[shardOf(`${site} http://${host}${path}`)] ?? 0;
  }

  /** kill -9 of one worker; resolves when its successor serves. */
  async killWorker(pid: number): Promise<void> {
    process.kill(pid, "SIGKILL");
    await this.whole([pid]);
  }

  /** Resolves when every slot serves, none of them by one of these processes. */
  async whole(without: readonly number[] = []): Promise<void> {
    await until("all workers serve", async () => {
      const children = childrenOf(this.program.pid);
      if (children.length !== this.workers || children.some((pid) => without.includes(pid))) return false;
      return ((await (await fetch(`${this.control}/readyz`)).text()).match(/worker \d/g) ?? []).length === 0;
    });
  }

  /** A connection that a process holds: any without one. */
  async viewer(pid: number | null = null): Promise<WorkerViewer> {
    const viewer = await WorkerViewer.of(this.port, pid);
    this.#viewers.push(viewer);
    return viewer;
  }

  /** One exchange on a connection of its own. */
  async get(
    path: string,
    { host = this.host, ...ask }: Ask & { readonly host?: string } = {},
  ): Promise<RawAnswer> {
    const viewer = await WorkerViewer.of(this.port, null);
    try {
      return await viewer.ask(host, path, ask);
    } finally {
      viewer.close();
    }
  }

  /** Sum of a metric over its labels. */
  async metric(name: string): Promise<number> {
    const page = await (await fetch(`${this.control}/metrics`)).text();
    let sum = 0;
    for (const [, value] of page.matchAll(new RegExp(`^proxima_${name}(?:\\{.*\\})? (\\S+)$`, "gm")))
      sum += Number(value);
    return sum;
  }

  /** True when what is stored for a path is whole on disk, as the edge explains it. */
  async isOnDisk(path: string): Promise<boolean> {
    const url = encodeURIComponent(`http://${this.host}${path}`);
    const { steps } = (await (await fetch(`${this.control}/v1/explain?url=${url}`)).json()) as {
      readonly steps: readonly {
        readonly details?: { readonly onDisk?: boolean; readonly missingBytes?: number };
      }[];
    };
    return steps.some(({ details }) => details?.onDisk === true && details.missingBytes === 0);
  }

  /** Purges, and resolves when that was acknowledged. */
  async purge(body: object): Promise<PurgeReport> {
    const answer = await fetch(`${this.control}/v1/purges`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    if (answer.status !== 201) throw new Error(`${answer.status}: ${await answer.text()}`);
    return (await answer.json()) as PurgeReport;
  }

  #leave(): void {
    for (const viewer of this.#viewers.splice(0)) viewer.close();
  }
}

/** X-Cache of an answer. */
export function cacheOf({ head }: RawAnswer): string {
  return /^x-cache: *(\S+)/im.exec(head)?.[1] ?? "";
}

/** One worker as the supervisor sees it: a process, a channel to it, and what it was told so far. */
import { ProximaError } from "../../base/errors.ts";
import type { Config, SiteConfig } from "../../config/schema.ts";
import type { Broadcast } from "../../edge/peers.ts";
import type { EdgePurgeOrder, EdgePurgeOutcome } from "../../edge/phases/purge.ts";
import type { AskedAt } from "../../edge/purges.ts";
import type { NodeLog } from "../../service/log.ts";
import type { StatsSnapshot } from "../../telemetry/stats.ts";
import type { OriginEvent } from "../../upstream/health/origin-event.ts";
import { Channel, packetOf, type SupervisorCalls, type WorkerCalls } from "./calls.ts";

/** Sites that are sent in one message: their copying must not hold a worker that serves. */
const SITES_PER_MESSAGE = 50;

/** Between a limit that has passed and the conclusion from it, in milliseconds. */
const GRACE_MS = 100;

/** What a worker's process needs of its supervisor. */
export interface WorkerProcessOptions {
  readonly slot: number;
  /** The program and its arguments. */
  readonly command: readonly string[];
  readonly log: NodeLog;
  /** Takes the worker's standard output; null leaves it the supervisor's own. */
  readonly onOutput: ((bytes: Uint8Array) => Promise<void>) | null;
  readonly broadcast: (message: Broadcast) => Promise<number>;
  /** Told of what the worker found out about an origin. */
  readonly onOriginEvent: (event: OriginEvent) => void;
  /** Does a purge that came to the worker's ports. */
  readonly purge: (order: EdgePurgeOrder) => Promise<EdgePurgeOutcome>;
}

/** A running worker. */
export class WorkerProcess {
  readonly slot: number;
  readonly startedMs = performance.now();
  /** Resolves when the process is gone and its output read, with how it ended in words. */
  readonly ended: Promise<string>;
  /** Gets every broadcast. */
  joined = false;
  /** What it last said is wrong and does not keep it from serving. */
  problems: readonly string[] = [];
  /** Up to where what it found on disk was held against the purges; null without a disk. */
  floor: AskedAt | null = null;
  /** Its counters as last asked for. */
  stats: StatsSnapshot | null = null;
  readonly #child: Bun.Subprocess;
  readonly #channel: Channel<WorkerCalls, SupervisorCalls>;
  /** Sites that it has, by id. */
  #sites = new Map<string, SiteConfig>();

  constructor(options: WorkerProcessOptions) {
    const { slot, command, log, onOutput } = options;
    this.slot = slot;
    this.#channel = new Channel<WorkerCalls, SupervisorCalls>((packet) => this.#child.send(packet), {
      broadcast: (message) => options.broadcast(message),
      originEvent(event) {
        options.onOriginEvent(event);
        return null;
      },
      purge: (order) => options.purge(order),
      log({ level, message }) {
        log(level, `worker ${slot}: ${message}`);
        return null;
      },
    });
    this.#child = Bun.spawn([...command], {
      stdin: "ignore",
      stdout: onOutput === null ? "inherit" : "pipe",
      stderr: "inherit",
      serialization: "advanced",
      ipc: (value) => {
        const packet = packetOf(value);
        if (packet !== null) this.#channel.receive(packet);
      },
    });
    const { stdout } = this.#child;
    const output =
      onOutput !== null && stdout instanceof ReadableStream ? relay(stdout, onOutput) : Promise.resolve();
    this.ended = this.#child.exited.then(async () => {
      const { exitCode, signalCode } = this.#child;
      const how = signalCode === null ? `ended with status ${exitCode}` : `was ended by ${signalCode}`;
      this.joined = false;
      this.#channel.close(`worker ${slot} ${how}`);
      await output;
      return how;
    });
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** Calls the worker. Rejects with a ProximaError: its own, worker_gone, or worker_silent after `limitMs`. */
  async call<K extends keyof WorkerCalls & string>(
    name: K,
    argument: WorkerCalls[K][0],
    limitMs: number,
  ): Promise<WorkerCalls[K][1]> {
    const late = Promise.withResolvers<never>();
    const silent = () =>
      late.reject(
        new ProximaError(
          "worker_silent",
          `worker ${this.slot} did not answer "${name}" within ${limitMs} ms`,
          {
            source: "node",
          },
        ),
      );
    // Should this process itself have stood still, the answer is there already and is read first.
    let timer = setTimeout(() => {
      timer = setTimeout(silent, GRACE_MS);
    }, limitMs);
    try {
      // The channel derives both types from the same table.
      const answer = this.#channel.call(name, argument as never) as Promise<WorkerCalls[K][1]>;
      return await Promise.race([answer, late.promise]);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Sends the sites that it does not have, slice by slice, and has it prepare them as a snapshot. */
  async prepare(config: Config, number: number, limitMs: number): Promise<void> {
    const entries = Object.entries(config.sites);
    const changed = entries.filter(([id, site]) => this.#sites.get(id) !== site);
    for (let from = 0; from < changed.length; from += SITES_PER_MESSAGE) {
      // Each slice is awaited: what a worker has to take stays small, and it serves in between.
      await this.call("sites", changed.slice(from, from + SITES_PER_MESSAGE), limitMs);
    }
    for (const [id, site] of changed) this.#sites.set(id, site);
    await this.call("prepare", { number, ids: entries.map(([id]) => id) }, limitMs);
  }

  /** Puts what it has prepared in force. */
  async commit(config: Config, number: number, limitMs: number): Promise<void> {
    await this.call("commit", { number }, limitMs);
    this.#sites = new Map(Object.entries(config.sites));
  }

  /** Ends the process at once; resolves when it is gone. */
  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.ended;
  }
}

async function relay(
  stream: ReadableStream<Uint8Array>,
  take: (bytes: Uint8Array) => Promise<void>,
): Promise<void> {
  let rest: Uint8Array = new Uint8Array(0);
  for await (const piece of stream) {
    const bytes = rest.byteLength === 0 ? piece : Buffer.concat([rest, piece]);
    // Whole lines only: those of other workers come in between.
    const end = bytes.lastIndexOf(0x0a) + 1;
    if (end > 0) await take(bytes.subarray(0, end));
    rest = bytes.subarray(end);
  }
}

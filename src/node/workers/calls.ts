/**
 * What the supervisor and its workers say to each other, over the runtime's IPC. Each call has a number and
 * gets one answer; calls arrive in the order in which they were sent. Both ends are this very program.
 */
import { ChurnMap } from "../../base/churn-map.ts";
import { messageOf, ProximaError } from "../../base/errors.ts";
import type { MarkLimits } from "../../cache/store/disk-mark.ts";
import type { NodeConfig, SiteConfig } from "../../config/schema.ts";
import type { Explanation } from "../../edge/explanation.ts";
import type { ListenAddress } from "../../edge/listener/ports.ts";
import type { OrphanCount } from "../../edge/orphans.ts";
import type { Broadcast } from "../../edge/peers.ts";
import type { EdgePurgeOrder, EdgePurgeOutcome } from "../../edge/phases/purge.ts";
import type { AskedAt } from "../../edge/purges.ts";
import type { FleetStanding } from "../../edge/settings.ts";
import type { TlsMaterial } from "../../edge/tls/material.ts";
import type { LogLevel } from "../../service/log.ts";
import type { StatsSnapshot } from "../../telemetry/stats.ts";
import type { OriginEvent } from "../../upstream/health/origin-event.ts";
import type { ExplainOptions } from "../edge-handle.ts";
import type { Missed } from "../purge-history.ts";
import type { PurgesInForce } from "../purge-service.ts";
import type { FaultSetting } from "./origin-memory.ts";

/** What a worker is told when it starts. */
export interface WorkerInit {
  readonly slot: number;
  readonly slots: number;
  /** How often a worker of this slot was started. */
  readonly start: number;
  readonly version: string;
  readonly config: NodeConfig;
  readonly loopId: string;
  readonly controlPort: number | null;
  /** Share of the memory limit, in bytes. */
  readonly memoryBytesMax: number;
  /** Folder of the sockets on which workers answer each other. */
  readonly socketFolder: string;
  /** Where the purges stand: what a disk cache may be used by. */
  readonly limits: MarkLimits;
  /** The node takes purges at its viewers' ports; otherwise these are methods like any other. */
  readonly takesPurges: boolean;
}

/** Where a worker listens. */
export interface WorkerListen {
  readonly http: ListenAddress | null;
  readonly https: ListenAddress | null;
  /** This worker alone holds the UDP port. */
  readonly http3: boolean;
  readonly http3Port: number | null;
  readonly tls: TlsMaterial | null;
}

/** Calls of the supervisor: argument and answer. */
export interface WorkerCalls {
  /** Answers up to where everything that it found on disk was held against the purges; null without a disk. */
  init: [WorkerInit, MarkLimits["newest"] | null];
  /** Sites that are new or changed; they count when a snapshot names them. */
  sites: [readonly (readonly [string, SiteConfig])[], null];
  /** Compiles a snapshot of these sites, in this order. */
  prepare: [{ readonly number: number; readonly ids: readonly string[] }, null];
  /** Puts the prepared snapshot in force. */
  commit: [{ readonly number: number }, null];
  /** Purges and invalidations that its disk missed: at the start, before it joins. */
  missed: [Missed, null];
  /** From here on the worker gets every broadcast. */
  join: [{ readonly floor: AskedAt; readonly now: AskedAt }, null];
  listen: [WorkerListen, null];
  /** Which workers are up: the number of their start, 0 while down. */
  peers: [readonly number[], null];
  apply: [{ readonly message: Broadcast; readonly sequence: number }, number];
  counted: [number, number];
  purgesInForce: [string, PurgesInForce];
  tls: [TlsMaterial, null];
  /** What another worker found out about an origin. */
  originEvent: [OriginEvent, null];
  /** Whether this worker is the one that checks the health of origins. */
  checkHealth: [boolean, null];
  setFault: [FaultSetting, null];
  stats: [null, StatsSnapshot];
  orphans: [{ readonly site: string; readonly config: SiteConfig }, OrphanCount[]];
  explain: [
    { readonly url: string; readonly options: ExplainOptions },
    { readonly explanation: Explanation; readonly owner: number | null },
  ];
  /** Where the node stands in its fleet's log. */
  fleet: [FleetStanding, null];
  reopenLog: [null, null];
  drain: [number, null];
  stop: [null, null];
  /** Answers what is wrong and does not keep it from serving. */
  ping: [null, readonly string[]];
}

/** Calls of a worker. */
export interface SupervisorCalls {
  broadcast: [Broadcast, number];
  /** What this worker found out about an origin. */
  originEvent: [OriginEvent, null];
  /** A purge that came to its ports. */
  purge: [EdgePurgeOrder, EdgePurgeOutcome];
  log: [{ readonly level: LogLevel; readonly message: string }, null];
}

interface Call {
  readonly id: number;
  readonly call: string;
  readonly argument: unknown;
}

interface Answer {
  readonly id: number;
  readonly value?: unknown;
  readonly error?: { readonly code: string; readonly message: string };
}

/** One end of the conversation: `Out` are the calls it makes, `In` those it answers. */
export class Channel<Out, In> {
  readonly #send: (packet: Call | Answer) => void;
  readonly #handlers: {
    readonly [K in keyof In]: (argument: In[K] extends [infer A, unknown] ? A : never) => unknown;
  };
  readonly #pending = new ChurnMap<number, { resolve(value: unknown): void; reject(error: unknown): void }>();
  #next = 1;
  #closed: ProximaError | null = null;

  constructor(
    send: (packet: Call | Answer) => void,
    handlers: {
      readonly [K in keyof In]: (argument: In[K] extends [infer A, unknown] ? A : never) => unknown;
    },
  ) {
    this.#send = send;
    this.#handlers = handlers;
  }

  /** Calls the other end. Rejects with a ProximaError when it fails, or when the other end is gone. */
  call<K extends keyof Out & string>(
    name: K,
    argument: Out[K] extends [infer A, unknown] ? A : never,
  ): Promise<Out[K] extends [unknown, infer R] ? R : never> {
    if (this.#closed !== null) return Promise.reject(this.#closed);
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      // What the other end answers is of the type that its handler has.
      this.#pending.set(id, { resolve: resolve as (value: unknown) => void, reject });
      try {
        this.#send({ id, call: name, argument });
      } catch (error) {
        this.#pending.delete(id);
        reject(new ProximaError("worker_gone", messageOf(error), { source: "node", cause: error }));
      }
    });
  }

  /** Takes what came from the other end. */
  receive(packet: Call | Answer): void {
    if ("call" in packet) {
      void this.#answer(packet);
      return;
    }
    const waiting = this.#pending.get(packet.id);
    this.#pending.delete(packet.id);
    if (packet.error === undefined) waiting?.resolve(packet.value);
    else waiting?.reject(new ProximaError(packet.error.code, packet.error.message, { source: "node" }));
  }

  /** The other end is gone: every open call fails. */
  close(why: string): void {
    this.#closed ??= new ProximaError("worker_gone", why, { source: "node" });
    for (const { reject } of this.#pending.values()) reject(this.#closed);
    for (const id of this.#pending.keys()) this.#pending.delete(id);
  }

  async #answer({ id, call, argument }: Call): Promise<void> {
    let answer: Answer;
    try {
      // The name and the argument come from `call` of the same program.
      const handler = this.#handlers[call as keyof In] as (argument: unknown) => unknown;
      answer = { id, value: await handler(argument) };
    } catch (error) {
      answer = {
        id,
        error: {
          code: error instanceof ProximaError ? error.code : "worker_failed",
          message: messageOf(error),
        },
      };
    }
    try {
      this.#send(answer);
    } catch {
      // The other end has gone meanwhile: nobody waits for this.
    }
  }
}

/** A packet as it came; anything else is dropped. */
export function packetOf(value: unknown): (Call | Answer) | null {
  if (typeof value !== "object" || value === null || !("id" in value) || typeof value.id !== "number")
    return null;
  return value as Call | Answer;
}

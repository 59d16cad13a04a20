/**
 * Looks after the shards of a store: opens them, finds out when their files were removed, tries again those that
 * are off, pays what is owed, and brings hits to the index now and then.
 */
import type { Clock } from "../../../base/clock.ts";
import { messageOf, ProximaError } from "../../../base/errors.ts";
import { errorCode } from "./files.ts";
import { isOwn, makeFormat, readFormat } from "./format.ts";
import { HEALTH_MS, HITS_FLUSH_MS } from "./limits.ts";
import type { Problems } from "./problems.ts";
import type { Room } from "./room.ts";
import type { Shard } from "./shard.ts";

/** What it works with. */
export interface UpkeepContext {
  readonly path: string;
  readonly clock: Clock;
  readonly shards: ReadonlyMap<number, Shard>;
  readonly problems: Problems;
  readonly room: Room;
}

/** Keeps one store's shards open. */
export class Upkeep {
  readonly #context: UpkeepContext;
  #seed: bigint;
  #hitsFlushedMs: number;
  #stopped = false;
  #cancel: () => void = () => {};

  /** `seed` is what DIR/format says, or what it is to say when it could not be read or made yet. */
  constructor(context: UpkeepContext, seed: bigint) {
    this.#context = context;
    this.#seed = seed;
    this.#hitsFlushedMs = context.clock.now();
  }

  /** The store's own, see DiskFormat. */
  get seed(): bigint {
    return this.#seed;
  }

  /** Opens all shards; those that can not be opened now are tried again. Throws `disk_in_use`. */
  openShards(): void {
    const { shards, room } = this.#context;
    for (const shard of shards.values()) {
      try {
        shard.open();
      } catch (error) {
        if (error instanceof ProximaError && error.code === "disk_in_use") {
          for (const other of shards.values()) other.turnOff();
          throw error;
        }
        if (errorCode(error) === "ENOSPC" || errorCode(error)?.startsWith("SQLITE_FULL")) room.full(error);
        this.unusable(error);
      }
    }
  }

  /** From now on every HEALTH_MS. */
  start(): void {
    this.#wait();
    void this.#countObjects();
  }

  stop(): void {
    this.#stopped = true;
    this.#cancel();
  }

  /** The disk can not be used now. */
  unusable(error: unknown): void {
    const { path, problems } = this.#context;
    problems.report(
      "unusable",
      "store",
      `the disk cache ${path} can not be used: ${messageOf(error)}; it is tried again`,
    );
  }

  /** Files were removed under a shard. */
  vanished(): void {
    const { path, problems } = this.#context;
    const what = `files of the disk cache ${path} were removed while it was in use`;
    problems.report("vanished", "store", `${what}; it starts again empty`);
  }

  #wait(): void {
    this.#cancel = this.#context.clock.after(HEALTH_MS, () => {
      this.#check();
      if (!this.#stopped) this.#wait();
    });
  }

  #check(): void {
    const { clock, problems, room } = this.#context;
    const shards = [...this.#context.shards.values()];
    const lost = shards.filter((shard) => shard.parts !== null && !shard.standing());
    if (lost.length > 0) {
      for (const shard of lost) shard.turnOff();
      this.vanished();
    }
    const off = shards.filter(({ parts }) => parts === null);
    if (off.length > 0 && this.#formatStands()) {
      for (const shard of off) if (shard.tryOpen()) shard.countObjects();
    }
    if (shards.every(({ parts }) => parts !== null)) {
      problems.clear("unusable", "store");
      if (lost.length === 0) problems.clear("vanished", "store");
    }
    for (const shard of shards) shard.payOwed();
    room.recover();
    if (clock.now() - this.#hitsFlushedMs >= HITS_FLUSH_MS) {
      this.#hitsFlushedMs = clock.now();
      for (const shard of shards) shard.hits.flush();
    }
  }

  async #countObjects(): Promise<void> {
    for (const shard of this.#context.shards.values()) {
      await new Promise<void>((resolve) => setImmediate(resolve));
      if (!this.#stopped) shard.countObjects();
    }
  }

  /** The format file is there, if need be again; false when shards must not be opened. */
  #formatStands(): boolean {
    const { path, shards, problems } = this.#context;
    try {
      const format = readFormat(path) ?? makeFormat(path, this.#seed);
      if (isOwn(format)) {
        // Another seed is another directory: this store's hashes mean nothing in it while a shard is open.
        if ([...shards.values()].every(({ parts }) => parts === null)) this.#seed = format.seed;
        if (format.seed === this.#seed) return true;
      }
      problems.report(
        "unusable",
        "store",
        `the disk cache ${path} was replaced by another; restart to use it`,
      );
    } catch (error) {
      this.unusable(error);
    }
    return false;
  }
}

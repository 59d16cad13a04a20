/**
 * The content of all zones: taken in, named by files, releases and parts, and dropped when nothing has named
 * it for a day. What is known here is safe in the store: a row is written after the content was published,
 * and goes before the content does, one after the other for the same content.
 */
import type { Clock } from "../../base/clock.ts";
import type { BodyReader } from "../../http/body.ts";
import type { BlobStore } from "../../storage/blob-store.ts";
import { type Announced, Intake, type Taken } from "../../storage/intake.ts";
import { UNUSED_KEPT_MS } from "../../storage/limits.ts";
import type { ControlDatabase } from "../database.ts";

/** Content that is dropped in one go. */
const DROPPED_AT_ONCE = 500;
const HASHES_AT_ONCE = 500;

/** The content. */
export class Blobs {
  readonly #database: ControlDatabase;
  readonly #store: BlobStore;
  readonly #intake: Intake;
  readonly #clock: Clock;
  /** What is under way for one hash, so that dropping it and taking it anew do not cross. */
  readonly #turns = new Map<string, Promise<void>>();

  constructor(database: ControlDatabase, store: BlobStore, folder: string, clock: Clock) {
    this.#database = database;
    this.#store = store;
    this.#intake = new Intake(folder, store);
    this.#clock = clock;
  }

  /** Takes a body; its content stays for a day, and as long as something names it. Rejects with a StorageError. */
  take(body: BodyReader | null, announced: Announced): Promise<Taken> {
    return this.#intake.take(body, announced, ({ hash, bytes }, place) =>
      this.#inTurn(hash, async () => {
        if (!this.#touch(hash) || !(await this.#store.has(hash, bytes))) {
          await place();
          try {
            // Who names it syncs the database; that it is here alone is soon said again.
            this.#database.relaxed(() =>
              this.#database.run(
                "INSERT INTO zone_blobs (hash, bytes, used_ms) VALUES (?, ?, ?) ON CONFLICT (hash) DO UPDATE SET used_ms = excluded.used_ms",
                hash,
                bytes,
                this.#now(),
              ),
            );
          } catch (error) {
            // Content without a row is never dropped; and it may be this content that fills the disk.
            if (this.sizesOf([hash]).size === 0) await this.#store.delete(hash).catch(() => {});
            throw error;
          }
        }
      }),
    );
  }

  read(hash: string, start: number, end: number): Promise<BodyReader> {
    return this.#store.read(hash, start, end);
  }

  /** Of these, what is not here; what is here stays for a day from now on. */
  missing(hashes: readonly string[]): string[] {
    return this.#database.transaction(() => hashes.filter((hash) => !this.#touch(hash)));
  }

  /** Lengths of those that are here. */
  sizesOf(hashes: readonly string[]): Map<string, number> {
    const sizes = new Map<string, number>();
    for (let at = 0; at < hashes.length; at += HASHES_AT_ONCE) {
      const some = hashes.slice(at, at + HASHES_AT_ONCE);
      const rows = this.#database.all<{ hash: string; bytes: number }>(
        `SELECT hash, bytes FROM zone_blobs WHERE hash IN (${some.map(() => "?").join(", ")})`,
        ...some,
      );
      for (const { hash, bytes } of rows) sizes.set(hash, bytes);
    }
    return sizes;
  }

  /** Drops what nothing names and nothing has named for a day; returns how much that was. */
  async collect(): Promise<{ readonly blobs: number; readonly bytes: number }> {
    let [blobs, bytes] = [0, 0];
    for (;;) {
      const rows = this.#database.all<{ hash: string; bytes: number }>(
        `SELECT hash, bytes FROM zone_blobs WHERE used_ms < ?
         AND NOT EXISTS (SELECT 1 FROM zone_files WHERE zone_files.hash = zone_blobs.hash)
         AND NOT EXISTS (SELECT 1 FROM zone_release_files WHERE zone_release_files.hash = zone_blobs.hash)
         AND NOT EXISTS (SELECT 1 FROM zone_parts WHERE zone_parts.hash = zone_blobs.hash) LIMIT ?`,
        this.#now() - UNUSED_KEPT_MS,
        DROPPED_AT_ONCE,
      );
      for (const row of rows)
        await this.#inTurn(row.hash, async () => {
          // Asked again: it may have been named while others were dropped.
          const dropped = this.#database.run(
            `DELETE FROM zone_blobs WHERE hash = ? AND used_ms < ?
             AND NOT EXISTS (SELECT 1 FROM zone_files WHERE hash = zone_blobs.hash)
             AND NOT EXISTS (SELECT 1 FROM zone_release_files WHERE hash = zone_blobs.hash)
             AND NOT EXISTS (SELECT 1 FROM zone_parts WHERE hash = zone_blobs.hash)`,
            row.hash,
            this.#now() - UNUSED_KEPT_MS,
          );
          if (dropped === 0) return;
          await this.#store.delete(row.hash);
          blobs++;
          bytes += row.bytes;
        });
      if (rows.length < DROPPED_AT_ONCE) return { blobs, bytes };
    }
  }

  #touch(hash: string): boolean {
    return this.#database.run("UPDATE zone_blobs SET used_ms = ? WHERE hash = ?", this.#now(), hash) > 0;
  }

  async #inTurn(hash: string, work: () => Promise<void>): Promise<void> {
    const before = this.#turns.get(hash) ?? Promise.resolve();
    const mine = before.then(work, work);
    const settled = mine.catch(() => {});
    this.#turns.set(hash, settled);
    try {
      await mine;
    } finally {
      if (this.#turns.get(hash) === settled) this.#turns.delete(hash);
    }
  }

  #now(): number {
    return Math.floor(this.#clock.now());
  }
}

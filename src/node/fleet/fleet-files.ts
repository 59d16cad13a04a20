/**
 * What a node keeps of its fleet in its data directory: its credential, and the last snapshot that it could
 * put in force. Written beside and renamed, so that a crash leaves the old or the new, never half of one.
 */
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, rmSync, writeSync } from "node:fs";
import * as z from "zod";
import { messageOf, ProximaError } from "../../base/errors.ts";
import { type SnapshotAnswer, snapshotAnswer } from "../../service/fleet-wire.ts";

const membership = z.object({
  control: z.string(),
  node: z.string(),
  credential: z.string(),
  logKey: z.string().optional(),
});
/** A node's place in a fleet. */
export type Membership = z.infer<typeof membership>;

/** The files, in one folder. */
export class FleetFiles {
  readonly #fileOf: (name: string) => string;

  /** `fileOf` gives the path of a name in the data directory. */
  constructor(fileOf: (name: string) => string) {
    this.#fileOf = fileOf;
  }

  /** The fleet that the node has joined; null when there is none. */
  membership(): Membership | null {
    return this.#read("fleet.json", membership);
  }

  setMembership(value: Membership): void {
    this.#write("fleet.json", JSON.stringify(value));
  }

  /** The last known good snapshot. */
  snapshot(): SnapshotAnswer | null {
    return this.#read("snapshot.json", snapshotAnswer);
  }

  setSnapshot(value: SnapshotAnswer): void {
    this.#write("snapshot.json", JSON.stringify(value));
  }

  /** Forgets the fleet, for one that the node joins anew. */
  clear(): void {
    for (const name of ["fleet.json", "snapshot.json"]) rmSync(this.#fileOf(name), { force: true });
  }

  #read<T>(name: string, schema: z.ZodType<T>): T | null {
    const path = this.#fileOf(name);
    let text: string;
    try {
      text = readFileSync(path, "utf8");
    } catch (error) {
      if (error instanceof Error && "code" in error && error.code === "ENOENT") return null;
      throw broken(path, messageOf(error));
    }
    try {
      return schema.parse(JSON.parse(text));
    } catch {
      throw broken(path, "it holds something else");
    }
  }

  #write(name: string, text: string): void {
    const path = this.#fileOf(name);
    const beside = `${path}.new`;
    const file = openSync(beside, "w", 0o600);
    try {
      writeSync(file, text);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(beside, path);
  }
}

function broken(path: string, why: string): ProximaError {
  return new ProximaError(
    "fleet_file_unusable",
    `${path} can not be used: ${why}; remove it and join again`,
    { source: "node" },
  );
}

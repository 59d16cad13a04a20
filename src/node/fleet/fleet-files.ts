/**
 * What a node keeps of its fleet in its data directory: its credential, and the last snapshot that it could
 * put in force. Written beside and renamed, so that a crash leaves the old or the new, never half of one.
 */
import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from "node:fs";
import { type SnapshotAnswer, snapshotAnswer } from "../../service/fleet-wire.ts";
import { broken, MEMBERSHIP_FILE, type Membership, readFleetFile, readMembership } from "./membership.ts";

const SNAPSHOT_FILE = "snapshot.json";

/** The files, in one folder. */
export class FleetFiles {
  readonly #fileOf: (name: string) => string;

  /** `fileOf` gives the path of a name in the data directory. */
  constructor(fileOf: (name: string) => string) {
    this.#fileOf = fileOf;
  }

  /** The fleet that the node has joined; null when there is none. */
  membership(): Membership | null {
    return readMembership(this.#fileOf(MEMBERSHIP_FILE));
  }

  setMembership(value: Membership): void {
    this.#write(MEMBERSHIP_FILE, JSON.stringify(value));
  }

  /** The last known good snapshot. */
  snapshot(): SnapshotAnswer | null {
    const path = this.#fileOf(SNAPSHOT_FILE);
    const value = readFleetFile(path);
    if (value === null) return null;
    const parsed = snapshotAnswer.safeParse(value);
    if (!parsed.success) throw broken(path, "it holds something else");
    return parsed.data;
  }

  setSnapshot(value: SnapshotAnswer): void {
    this.#write(SNAPSHOT_FILE, JSON.stringify(value));
  }

  /** Forgets the fleet, for one that the node joins anew. */
  clear(): void {
    for (const name of [MEMBERSHIP_FILE, SNAPSHOT_FILE]) rmSync(this.#fileOf(name), { force: true });
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

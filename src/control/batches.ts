/**
 * Batches: what one call of a vendor's API orders may be several purges of ours. A batch has an id of the
 * vendor's kind, under which all of them can be asked for as one, and may have the caller's own reference.
 */
import type { ControlDatabase } from "./database.ts";
import { PURGES_KEPT_MAX } from "./limits.ts";
import type { FleetPurge, FleetPurges, NodePurge, WaitFor } from "./purges.ts";

/** A batch. */
export interface Batch {
  readonly id: string;
  /** That of its last purge: when that is applied, all are. */
  readonly sequence: number;
  readonly vendor: string;
  /** Null when it is about several. */
  readonly site: string | null;
  readonly reference: string | null;
  /** Hash of what was asked for under the reference. */
  readonly content: string;
  /** What is told of it later, in the vendor's terms. */
  readonly echo: string;
  readonly purges: readonly string[];
  readonly acceptedMs: number;
}

interface Row {
  readonly id: string;
  readonly sequence: number;
  readonly vendor: string;
  readonly site: string | null;
  readonly reference: string | null;
  readonly content: string;
  readonly echo: string;
  readonly purges: string;
  readonly accepted_ms: number;
}

/** The batches; as many are kept as purges. */
export class Batches {
  readonly #database: ControlDatabase;
  readonly #purges: FleetPurges;

  constructor(database: ControlDatabase, purges: FleetPurges) {
    this.#database = database;
    this.#purges = purges;
  }

  /** Keeps a batch of purges, in their order, within the caller's transaction. */
  keep(
    batch: Pick<Batch, "id" | "vendor" | "site" | "reference" | "content" | "echo">,
    purges: readonly FleetPurge[],
  ): Batch {
    const last = purges.at(-1);
    if (last === undefined) throw new Error("a batch holds at least one purge");
    this.#database.run(
      "INSERT INTO batches (id, sequence, vendor, site, reference, content, echo, purges, accepted_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
      batch.id,
      last.sequence,
      batch.vendor,
      batch.site,
      batch.reference,
      batch.content,
      batch.echo,
      JSON.stringify(purges.map(({ id }) => id)),
      Date.parse(last.acceptedAt),
    );
    const old = this.#database.get<{ sequence: number }>(
      "SELECT sequence FROM batches ORDER BY sequence DESC LIMIT 1 OFFSET ?",
      PURGES_KEPT_MAX,
    );
    if (old !== null) this.#database.run("DELETE FROM batches WHERE sequence <= ?", old.sequence);
    return this.#mustFind(batch.id);
  }

  /** The batch with an id; null when there is none (any more). */
  find(id: string): Batch | null {
    const row = this.#database.get<Row>("SELECT * FROM batches WHERE id = ?", id);
    return row === null ? null : batchOf(row);
  }

  /** The batch that the caller of a site gave this name. */
  findReference(vendor: string, site: string, reference: string): Batch | null {
    const row = this.#database.get<Row>(
      "SELECT * FROM batches WHERE vendor = ? AND site = ? AND reference = ?",
      vendor,
      site,
      reference,
    );
    return row === null ? null : batchOf(row);
  }

  /** Those of a site, the newest first, older than the one with the id `after`. */
  list(vendor: string, site: string, after: string | null, limit: number): Batch[] {
    const before = after === null ? Number.MAX_SAFE_INTEGER : (this.find(after)?.sequence ?? 0);
    return this.#database
      .all<Row>(
        "SELECT * FROM batches WHERE vendor = ? AND site = ? AND sequence < ? ORDER BY sequence DESC LIMIT ?",
        vendor,
        site,
        before,
        limit,
      )
      .map(batchOf);
  }

  /** Its purges as one; null when they are not known any more. */
  view(batch: Batch): FleetPurge | null {
    const purges = batch.purges.flatMap((id) => this.#purges.find(id) ?? []);
    const last = purges.at(-1);
    if (last === undefined) return null;
    return together(batch.id, purges, last);
  }

  /** Waits for all of its purges within a time; null when they are not known any more. */
  async wait(batch: Batch, what: WaitFor, ms: number, signal: AbortSignal): Promise<FleetPurge | null> {
    const last = batch.purges.at(-1);
    // Purges are applied in their order, and counted in it too.
    if (last !== undefined && this.#purges.find(last) !== null)
      await this.#purges.wait(last, what, ms, signal);
    return this.view(batch);
  }

  #mustFind(id: string): Batch {
    const batch = this.find(id);
    if (batch === null) throw new Error(`batch ${id} is gone as soon as it was made`);
    return batch;
  }
}

/** Several purges as one: as far as the slowest, with the objects of all. */
function together(id: string, purges: readonly FleetPurge[], last: FleetPurge): FleetPurge {
  if (purges.length === 1) return { ...last, id };
  const some = (value: number | null) => value ?? 0;
  const sum = (counts: readonly (number | null)[]) =>
    counts.every((count) => count === null) ? null : counts.reduce<number>((n, one) => n + some(one), 0);
  const only = <T>(values: readonly T[], mixed: T): T =>
    new Set(values).size === 1 ? (values[0] as T) : mixed;
  const nodes = last.nodes.map((node): NodePurge => {
    const all = purges.map((purge) => purge.nodes.find((one) => one.node === node.node) ?? node);
    const slowest = all.find(({ state }) => state !== "counted") ?? node;
    return { ...slowest, objects: sum(all.map(({ objects }) => objects)) };
  });
  return {
    ...last,
    id,
    site: only(
      purges.map(({ site }) => site),
      "several",
    ),
    scope: only(
      purges.map(({ scope }) => scope),
      "several",
    ),
    targets: purges.flatMap(({ targets }) => targets).slice(0, last.targets.length + 20),
    targetCount: purges.reduce((n, { targetCount }) => n + targetCount, 0),
    acceptedAt: purges[0]?.acceptedAt ?? last.acceptedAt,
    state:
      purges.find(({ state }) => state === "accepted")?.state ??
      purges.find(({ state }) => state === "applied")?.state ??
      "counted",
    objects: sum(purges.map(({ objects }) => objects)),
    nodes,
  };
}

function batchOf({ accepted_ms: acceptedMs, purges, ...row }: Row): Batch {
  // Written by `keep` alone.
  return { ...row, acceptedMs, purges: JSON.parse(purges) as string[] };
}

/**
 * Sites and their versions. A change is a draft at first, which may be anything; a version is a draft that
 * was checked, has a number and a hash, and does not change; one version of a site is active, or none.
 * What is active of all sites together is a snapshot, which is what nodes get. A site's id is never used
 * for another one.
 */
import type { Clock } from "../base/clock.ts";
import { canonicalText, contentHash } from "./canonical.ts";
import type { ChangeLog } from "./change-log.ts";
import type { ControlDatabase } from "./database.ts";
import type { Tell } from "./events.ts";
import { SITE_CHARS_MAX, SITES_MAX, SNAPSHOTS_KEPT_MAX, VERSIONS_KEPT_MAX } from "./limits.ts";
import { Refused } from "./refusal.ts";
import { openRolloutOf, type StagedVersions, stagedVersions, versionsRolledOut } from "./rollouts/staged.ts";
import { checkSiteConfig, type SiteProblem } from "./site-check.ts";

/** A site as one asks for it. */
export interface SiteView {
  readonly id: string;
  readonly createdAt: string;
  readonly createdBy: string;
  /** Changes with every change of the site: what If-Match is held against. */
  readonly revision: number;
  readonly activeVersion: number | null;
  readonly newestVersion: number | null;
  readonly hosts: readonly string[];
  readonly draft: { readonly updatedAt: string } | null;
}

/** A version as one asks for it. */
export interface VersionView {
  readonly site: string;
  readonly number: number;
  readonly hash: string;
  readonly hosts: readonly string[];
  readonly note: string;
  readonly createdAt: string;
  readonly createdBy: string;
  readonly active: boolean;
}

/** A snapshot without its sites' configs. */
export interface SnapshotView {
  readonly number: number;
  readonly hash: string;
  /** The active version of each site. */
  readonly active: Readonly<Record<string, number>>;
  /** What roll-outs put in their place on some of the nodes. */
  readonly staged: readonly StagedVersions[];
  readonly createdAt: string;
  readonly createdBy: string;
}

interface SiteRow {
  readonly id: string;
  readonly created_ms: number;
  readonly created_by: string;
  readonly deleted_ms: number | null;
  readonly revision: number;
  readonly draft: string | null;
  readonly draft_ms: number | null;
  readonly active: number | null;
}

interface VersionRow {
  readonly site: string;
  readonly number: number;
  readonly config: string;
  readonly hash: string;
  readonly hosts: string;
  readonly note: string;
  readonly created_ms: number;
  readonly created_by: string;
}

/** Sites, versions and snapshots. Its changes belong into the caller's transaction. */
export class Sites {
  readonly #database: ControlDatabase;
  readonly #log: ChangeLog;
  readonly #clock: Clock;

  readonly #tell: Tell;

  constructor(database: ControlDatabase, log: ChangeLog, clock: Clock, tell: Tell) {
    this.#database = database;
    this.#log = log;
    this.#clock = clock;
    this.#tell = tell;
  }

  /** Sites by id, those after `after`. */
  list(limit: number, after: string, only: readonly string[] | null): SiteView[] {
    const among = only === null ? "" : `AND id IN (${only.map(() => "?").join(", ")})`;
    return this.#database
      .all<SiteRow>(
        `SELECT * FROM sites WHERE deleted_ms IS NULL AND id > ? ${among} ORDER BY id LIMIT ?`,
        after,
        ...(only ?? []),
        limit,
      )
      .map((row) => this.#view(row));
  }

  /** Ids of the sites that some node serves: with an active version, or one that is being rolled out. */
  activeIds(): string[] {
    const active = this.#database
      .all<{ id: string }>("SELECT id FROM sites WHERE deleted_ms IS NULL AND active IS NOT NULL")
      .map(({ id }) => id);
    const staged = stagedVersions(this.#database).flatMap(({ sites }) => Object.keys(sites));
    return [...new Set([...active, ...staged])].sort();
  }

  /** True for one of them. */
  isActive(id: string): boolean {
    const sql = "SELECT 1 AS yes FROM sites WHERE id = ? AND deleted_ms IS NULL AND active IS NOT NULL";
    return this.#database.get(sql, id) !== null || versionsRolledOut(this.#database, id).length > 0;
  }

  /** The sites in force with the patterns of their hosts, by id; of these when they are given. */
  activeHosts(
    limit: number,
    only: readonly string[] | null,
  ): { readonly id: string; readonly hosts: readonly string[] }[] {
    const among = only === null ? "" : `WHERE site IN (${only.map(() => "?").join(", ")})`;
    return this.#database
      .all<{ site: string; hosts: string }>(
        `SELECT site, json_group_array(host) AS hosts FROM (SELECT site, host FROM hosts ${among} ORDER BY site, host) GROUP BY site ORDER BY site LIMIT ?`,
        ...(only ?? []),
        limit,
      )
      .map(({ site, hosts }) => ({ id: site, hosts: JSON.parse(hosts) as string[] }));
  }

  /** The site in force that has claimed exactly this pattern of hosts; null when none has. */
  siteOfHost(pattern: string): string | null {
    return (
      this.#database.get<{ site: string }>("SELECT site FROM hosts WHERE host = ?", pattern)?.site ?? null
    );
  }

  /** The sites in force, and the ids that vendors' clients know them by. */
  vendorIds(): { readonly site: string; readonly vendorIds: readonly string[] }[] {
    return this.#database
      .all<{ site: string; ids: string | null }>(
        "SELECT sites.id AS site, json_extract(versions.config, '$.vendorIds') AS ids FROM sites JOIN versions ON versions.site = sites.id AND versions.number = sites.active ORDER BY sites.id",
      )
      .map(({ site, ids }) => ({ site, vendorIds: ids === null ? [] : (JSON.parse(ids) as string[]) }));
  }

  get(id: string): SiteView {
    return this.#view(this.#mustGet(id));
  }

  /** Makes a site without a version. */
  create(id: string, by: string): SiteView {
    const known = this.#database.get<SiteRow>("SELECT * FROM sites WHERE id = ?", id);
    if (known !== null)
      throw new Refused(
        409,
        known.deleted_ms === null
          ? `there is a site "${id}" already`
          : `there was a site "${id}" once: an id is never used again, or purges and logs of the old one would be of the new one`,
      );
    const count =
      this.#database.get<{ n: number }>("SELECT count(*) AS n FROM sites WHERE deleted_ms IS NULL")?.n ?? 0;
    if (count >= SITES_MAX)
      throw new Refused(409, `there are ${count} sites; at most ${SITES_MAX} are allowed`);
    this.#database.run(
      "INSERT INTO sites (id, created_ms, created_by, revision) VALUES (?, ?, ?, 1)",
      id,
      this.#now(),
      by,
    );
    return this.get(id);
  }

  /** Takes a draft, whatever it is, and says what is wrong with it. */
  setDraft(
    id: string,
    config: unknown,
  ): { readonly site: SiteView; readonly problems: readonly SiteProblem[] } {
    this.#mustGet(id);
    const text = canonicalText(config);
    if (text.length > SITE_CHARS_MAX)
      throw new Refused(
        422,
        `the config is ${text.length} characters long; at most ${SITE_CHARS_MAX} are allowed`,
      );
    this.#database.run("UPDATE sites SET draft = ?, draft_ms = ? WHERE id = ?", text, this.#now(), id);
    this.#touch(id);
    const check = checkSiteConfig(id, config);
    return { site: this.get(id), problems: check.ok ? check.warnings : check.problems };
  }

  draft(id: string): unknown {
    const { draft } = this.#mustGet(id);
    if (draft === null) throw new Refused(404, `site "${id}" has no draft`);
    return JSON.parse(draft) as unknown;
  }

  /**
   * Makes a version of a config, or of the draft when none is given; one with the newest version's content is
   * that version. Throws a Refused 422 with every problem.
   */
  createVersion(
    id: string,
    config: unknown,
    note: string,
    by: string,
  ): { readonly version: VersionView; readonly warnings: readonly SiteProblem[]; readonly isNew: boolean } {
    const site = this.#mustGet(id);
    const check = checkSiteConfig(id, config === undefined ? this.draft(id) : config);
    if (!check.ok)
      throw new Refused(422, `the config of site "${id}" is not valid: ${sentence(check.problems)}`, {
        members: { problems: check.problems },
      });
    const newest = this.#newest(id);
    const isNew = newest?.hash !== check.hash;
    const number = isNew ? (newest?.number ?? 0) + 1 : (newest?.number as number);
    if (isNew) {
      this.#database.run(
        "INSERT INTO versions (site, number, config, hash, hosts, note, created_ms, created_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        id,
        number,
        check.text,
        check.hash,
        JSON.stringify(check.hosts),
        note,
        this.#now(),
        by,
      );
      const inUse = [site.active ?? 0, ...versionsRolledOut(this.#database, id)];
      this.#database.run(
        `DELETE FROM versions WHERE site = ? AND number <= ? AND number NOT IN (${inUse.map(() => "?").join(", ")})`,
        id,
        number - VERSIONS_KEPT_MAX,
        ...inUse,
      );
    }
    // A draft that became a version is one no more.
    this.#database.run(
      "UPDATE sites SET draft = NULL, draft_ms = NULL WHERE id = ? AND draft = ?",
      id,
      check.text,
    );
    if (isNew) this.#touch(id);
    return { version: this.version(id, number), warnings: check.warnings, isNew };
  }

  versions(id: string, limit: number, before: number): VersionView[] {
    const { active } = this.#mustGet(id);
    return this.#database
      .all<VersionRow>(
        "SELECT * FROM versions WHERE site = ? AND number < ? ORDER BY number DESC LIMIT ?",
        id,
        before,
        limit,
      )
      .map((row) => versionView(row, active));
  }

  version(id: string, number: number): VersionView {
    return versionView(this.#version(id, number), this.#mustGet(id).active);
  }

  /** The config of a version as its author wrote it. */
  config(id: string, number: number): unknown {
    return JSON.parse(this.#version(id, number).config) as unknown;
  }

  /** The newest activated version that is older than the active one: twice in a row goes back twice. */
  previousVersion(id: string): number {
    const { active } = this.#mustGet(id);
    const row = this.#database.get<{ version: number }>(
      "SELECT version FROM activations WHERE site = ? AND version < ? ORDER BY sequence DESC LIMIT 1",
      id,
      active ?? 0,
    );
    if (row === null)
      throw new Refused(
        409,
        `site "${id}" has no older version that was active before; activate the one you want`,
      );
    return row.version;
  }

  /**
   * Makes versions active, all in one snapshot; null takes a site out. Returns null when they are already.
   * Throws a Refused 409 when two sites would have the same host.
   */
  activate(targets: ReadonlyMap<string, number | null>, by: string): SnapshotView | null {
    const changed = [...targets].filter(([id, number]) => this.#mustGet(id).active !== number);
    for (const [id] of targets) this.#mustNotRollOut(id);
    if (changed.length === 0) return null;
    // First all that goes: a host may move from one site to another.
    for (const [id] of changed) this.#database.run("DELETE FROM hosts WHERE site = ?", id);
    for (const [id, number] of changed) {
      if (number !== null) for (const host of this.hosts(id, number)) this.#claim(host, id);
      this.#database.run("UPDATE sites SET active = ? WHERE id = ?", number, id);
      this.#touch(id);
    }
    const snapshot = this.publish(by);
    for (const [id, number] of changed) {
      this.#database.run(
        "INSERT INTO activations (site, version, snapshot, at_ms, by) VALUES (?, ?, ?, ?, ?)",
        id,
        number,
        snapshot.number,
        this.#now(),
        by,
      );
      this.#tell({
        type: "version.active",
        sites: [id],
        data: { site: id, version: number, snapshot: snapshot.number, by },
      });
    }
    return snapshot;
  }

  /** Claims the hosts of versions that are to be rolled out, beside those of the active ones. Throws like `activate`. */
  reserve(targets: ReadonlyMap<string, number>): void {
    for (const [id, number] of targets) {
      this.#mustNotRollOut(id);
      if (this.#mustGet(id).active === number)
        throw new Refused(409, `version ${number} of site "${id}" is active already`);
      for (const host of this.hosts(id, number)) this.#claim(host, id);
    }
  }

  /** Gives back what `reserve` claimed: the hosts of the active versions stay. */
  release(ids: readonly string[]): void {
    for (const id of ids) {
      this.#database.run("DELETE FROM hosts WHERE site = ?", id);
      const { active } = this.#mustGet(id);
      if (active !== null) for (const host of this.hosts(id, active)) this.#claim(host, id);
    }
  }

  /** Hosts of a version. */
  hosts(id: string, number: number): readonly string[] {
    // Written by `createVersion` alone.
    return JSON.parse(this.#version(id, number).hosts) as string[];
  }

  /** Hosts that a site has; none for one that is not there. */
  hostsOf(id: string): string[] {
    return this.#database
      .all<{ host: string }>("SELECT host FROM hosts WHERE site = ? ORDER BY host", id)
      .map(({ host }) => host);
  }

  /** Ends a site: out of the snapshot, its id never used again. */
  delete(id: string, by: string): void {
    this.activate(new Map([[id, null]]), by);
    this.#database.run(
      "UPDATE sites SET deleted_ms = ?, draft = NULL, draft_ms = NULL WHERE id = ?",
      this.#now(),
      id,
    );
  }

  /** Its number; 0 before the first. */
  newestNumber(): number {
    return this.#database.get<{ n: number | null }>("SELECT max(number) AS n FROM snapshots")?.n ?? 0;
  }

  /** The newest snapshot; null before the first. */
  newestSnapshot(): SnapshotView | null {
    const row = this.#database.get<SnapshotRow>("SELECT * FROM snapshots ORDER BY number DESC LIMIT 1");
    return row === null ? null : snapshotView(row);
  }

  snapshots(limit: number, before: number): SnapshotView[] {
    return this.#database
      .all<SnapshotRow>(
        "SELECT * FROM snapshots WHERE number < ? ORDER BY number DESC LIMIT ?",
        before,
        limit,
      )
      .map(snapshotView);
  }

  snapshot(number: number): SnapshotView {
    const row = this.#database.get<SnapshotRow>("SELECT * FROM snapshots WHERE number = ?", number);
    if (row === null) throw new Refused(404, `there is no snapshot ${number} (any more)`);
    return snapshotView(row);
  }

  /** A snapshot as nodes get it: JSON text, put together from the versions' own. */
  snapshotText(number: number): string {
    const { hash, active, staged } = this.snapshot(number);
    const text = (versions: Readonly<Record<string, number>>): string =>
      Object.entries(versions)
        .map(([id, version]) => `${JSON.stringify(id)}:${this.#version(id, version).config}`)
        .join(",");
    const rollouts = staged.map(
      ({ rollout, nodes, sites }) =>
        `{"rollout":${JSON.stringify(rollout)},"nodes":${JSON.stringify(nodes)},"sites":{${text(sites)}}}`,
    );
    const more = rollouts.length === 0 ? "" : `,"staged":[${rollouts.join(",")}]`;
    return `{"number":${number},"hash":${JSON.stringify(hash)},"sites":{${text(active)}}${more}}`;
  }

  /** Makes a snapshot of what is active and what is being rolled out, and tells the nodes of it. */
  publish(by: string): SnapshotView {
    const rows = this.#database.all<{ id: string; active: number; hash: string }>(
      "SELECT sites.id, sites.active, versions.hash FROM sites JOIN versions ON versions.site = sites.id AND versions.number = sites.active ORDER BY sites.id",
    );
    const active = Object.fromEntries(rows.map((row) => [row.id, row.active]));
    const staged = stagedVersions(this.#database);
    const hash = contentHash(
      rows.map((row) => `${row.id} ${row.hash}\n`).join("") +
        (staged.length === 0 ? "" : canonicalText(staged)),
    );
    const row = this.#database.get<SnapshotRow>(
      "INSERT INTO snapshots (hash, active, staged, created_ms, created_by) VALUES (?, ?, ?, ?, ?) RETURNING *",
      hash,
      JSON.stringify(active),
      staged.length === 0 ? null : JSON.stringify(staged),
      this.#now(),
      by,
    );
    if (row === null) throw new Error("the database took no snapshot");
    this.#database.run("DELETE FROM snapshots WHERE number <= ?", row.number - SNAPSHOTS_KEPT_MAX);
    this.#log.append({ kind: "snapshot", snapshot: row.number });
    return snapshotView(row);
  }

  #mustNotRollOut(id: string): void {
    const rollout = openRolloutOf(this.#database, id);
    if (rollout !== null)
      throw new Refused(
        409,
        `site "${id}" is being rolled out (${rollout}): promote or abort that first, or wait for its end`,
        { members: { rollout } },
      );
  }

  #claim(host: string, id: string): void {
    const owner = this.#database.get<{ site: string }>("SELECT site FROM hosts WHERE host = ?", host);
    if (owner?.site === id) return;
    if (owner !== null)
      throw new Refused(409, `host "${host}" of site "${id}" already belongs to site "${owner.site}"`);
    this.#database.run("INSERT INTO hosts (host, site) VALUES (?, ?)", host, id);
  }

  #touch(id: string): void {
    this.#database.run("UPDATE sites SET revision = revision + 1 WHERE id = ?", id);
  }

  #mustGet(id: string): SiteRow {
    const row = this.#database.get<SiteRow>("SELECT * FROM sites WHERE id = ? AND deleted_ms IS NULL", id);
    if (row === null) throw new Refused(404, `there is no site "${id.slice(0, 100)}"`);
    return row;
  }

  #version(id: string, number: number): VersionRow {
    const row = this.#database.get<VersionRow>(
      "SELECT * FROM versions WHERE site = ? AND number = ?",
      id,
      number,
    );
    if (row === null)
      throw new Refused(404, `site "${id.slice(0, 100)}" has no version ${number} (any more)`);
    return row;
  }

  #newest(id: string): { readonly number: number; readonly hash: string } | null {
    return this.#database.get(
      "SELECT number, hash FROM versions WHERE site = ? ORDER BY number DESC LIMIT 1",
      id,
    );
  }

  #view(row: SiteRow): SiteView {
    return {
      id: row.id,
      createdAt: new Date(row.created_ms).toISOString(),
      createdBy: row.created_by,
      revision: row.revision,
      activeVersion: row.active,
      newestVersion: this.#newest(row.id)?.number ?? null,
      hosts: this.hostsOf(row.id),
      draft: row.draft_ms === null ? null : { updatedAt: new Date(row.draft_ms).toISOString() },
    };
  }

  #now(): number {
    return Math.floor(this.#clock.now());
  }
}

interface SnapshotRow {
  readonly number: number;
  readonly hash: string;
  readonly active: string;
  readonly staged: string | null;
  readonly created_ms: number;
  readonly created_by: string;
}

function snapshotView(row: SnapshotRow): SnapshotView {
  return {
    number: row.number,
    hash: row.hash,
    active: JSON.parse(row.active) as Record<string, number>,
    staged: row.staged === null ? [] : (JSON.parse(row.staged) as StagedVersions[]),
    createdAt: new Date(row.created_ms).toISOString(),
    createdBy: row.created_by,
  };
}

function versionView(row: VersionRow, active: number | null): VersionView {
  return {
    site: row.site,
    number: row.number,
    hash: row.hash,
    hosts: JSON.parse(row.hosts) as string[],
    note: row.note,
    createdAt: new Date(row.created_ms).toISOString(),
    createdBy: row.created_by,
    active: row.number === active,
  };
}

/** The first problem as a sentence. */
export function sentence(problems: readonly SiteProblem[]): string {
  const [first] = problems.filter(({ severity }) => severity === "error");
  const more = problems.length > 1 ? ` (and ${problems.length - 1} more)` : "";
  return first === undefined
    ? "unknown"
    : `${first.path}${first.path === "" ? "" : ": "}${first.message}${more}`;
}

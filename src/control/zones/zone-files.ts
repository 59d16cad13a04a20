/**
 * Files of the zones by path, with what they were before: a row is good from one place of the fleet's log
 * (`since`) until before another (`until`). A change takes the place of the purge that tells the edges of it,
 * in one transaction; an edge that has applied the log up to N asks for the zone as of N. So every edge shows
 * the old files or the new ones, whole, and never new ones beside what it kept of the old.
 */
import type { Clock } from "../../base/clock.ts";
import { FILLED_HOSTS_MAX, FILLED_URLS_MAX, PURGED_PATHS_MAX } from "../../storage/limits.ts";
import { pathTag, zoneTag } from "../../storage/zone-path.ts";
import type { FileContent, ListPage, ZoneFile } from "../../storage/zone-store.ts";
import type { ChangeLog } from "../change-log.ts";
import type { ControlDatabase } from "../database.ts";
import type { FleetPurge, FleetPurges } from "../purges.ts";
import type { ZoneSites } from "./zone-sites.ts";

/** Above every code point that a path can hold. */
const LAST = "\u{10ffff}";

interface Row {
  readonly path: string;
  readonly since: number;
  readonly hash: string;
  readonly bytes: number;
  readonly type: string;
  readonly etag: string | null;
  readonly fields: string;
  readonly checksums: string;
  readonly modified_ms: number;
}

/** One path of a change: new content, or none any more. */
export interface FileChange {
  readonly path: string;
  readonly content: FileContent | null;
}

/** What a change came to. */
export interface ZoneChange {
  /** From this place of the log on it is seen. */
  readonly sequence: number;
  /** The purges that tell the edges, one for each site that shows the zone. */
  readonly purges: readonly FleetPurge[];
}

/** The files. Changes belong into the caller's transaction. */
export class ZoneFiles {
  readonly #database: ControlDatabase;
  readonly #log: ChangeLog;
  readonly #purges: FleetPurges;
  readonly #sites: ZoneSites;
  readonly #clock: Clock;

  constructor(
    database: ControlDatabase,
    log: ChangeLog,
    purges: FleetPurges,
    sites: ZoneSites,
    clock: Clock,
  ) {
    this.#database = database;
    this.#log = log;
    this.#purges = purges;
    this.#sites = sites;
    this.#clock = clock;
  }

  /** A file as it is, or as it was at a place of the log. */
  get(zone: number, path: string, asOf: number | null = null): ZoneFile | null {
    const row =
      asOf === null
        ? this.#database.get<Row>(
            "SELECT * FROM zone_files WHERE zone = ? AND path = ? AND until IS NULL",
            zone,
            path,
          )
        : this.#database.get<Row>(
            "SELECT * FROM zone_files WHERE zone = ? AND path = ? AND since <= ? AND (until IS NULL OR until > ?) ORDER BY since DESC LIMIT 1",
            zone,
            path,
            asOf,
            asOf,
          );
    return row === null ? null : fileOf(row);
  }

  /** A page of the files as they are. */
  list(
    zone: number,
    how: {
      readonly prefix: string;
      readonly after: string;
      readonly delimiter: string;
      readonly limit: number;
    },
  ): ListPage {
    const { prefix, delimiter, limit } = how;
    const files: ZoneFile[] = [];
    const folders: string[] = [];
    let after = how.after;
    let last = "";
    for (;;) {
      const room = limit - files.length - folders.length;
      const rows = this.#database.all<Row>(
        "SELECT * FROM zone_files WHERE zone = ? AND path > ? AND path >= ? AND path < ? AND until IS NULL ORDER BY path LIMIT ?",
        zone,
        after,
        prefix,
        `${prefix}${LAST}`,
        room + 1,
      );
      let jumped = false;
      for (const row of rows) {
        const end = delimiter === "" ? -1 : row.path.indexOf(delimiter, prefix.length);
        const folder = end < 0 ? null : row.path.slice(0, end + delimiter.length);
        // A page may begin behind a folder that the page before has named.
        if (folder !== null && how.after === folder) {
          after = `${folder}${LAST}`;
          jumped = true;
          break;
        }
        if (files.length + folders.length >= limit) return { files, folders, next: last };
        if (folder === null) {
          files.push(fileOf(row));
          last = row.path;
          after = row.path;
          continue;
        }
        folders.push(folder);
        last = folder;
        after = `${folder}${LAST}`;
        jumped = true;
        break;
      }
      if (!jumped) return { files, folders, next: null };
    }
  }

  /** Paths below a prefix. */
  pathsBelow(zone: number, prefix: string): string[] {
    return this.#database
      .all<{ path: string }>(
        "SELECT path FROM zone_files WHERE zone = ? AND path >= ? AND path < ? AND until IS NULL ORDER BY path",
        zone,
        prefix,
        `${prefix}${LAST}`,
      )
      .map(({ path }) => path);
  }

  /** Makes the changes, which are seen together or not at all; null when there is nothing to change. */
  change(
    zone: { readonly id: number; readonly name: string },
    changes: readonly FileChange[],
    by: string,
  ): ZoneChange | null {
    if (changes.length === 0) return null;
    const purges = this.#tell(
      zone,
      changes.map(({ path }) => path),
      by,
    );
    const sequence = purges[0]?.sequence ?? this.#log.head().sequence + 1;
    const nowMs = Math.floor(this.#clock.now());
    for (const { path, content } of changes) {
      this.#database.run(
        "UPDATE zone_files SET until = ?, until_ms = ? WHERE zone = ? AND path = ? AND until IS NULL",
        sequence,
        nowMs,
        zone.id,
        path,
      );
      // What began at this very place was never seen.
      this.#database.run(
        "DELETE FROM zone_files WHERE zone = ? AND path = ? AND since >= until",
        zone.id,
        path,
      );
      if (content === null) continue;
      this.#database.run(
        "INSERT INTO zone_files (zone, path, since, hash, bytes, type, etag, fields, checksums, modified_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        zone.id,
        path,
        sequence,
        content.hash,
        content.bytes,
        content.type,
        content.etag,
        JSON.stringify(content.fields),
        JSON.stringify(content.checksums),
        nowMs,
      );
    }
    this.#database.run("UPDATE zones SET changed = ? WHERE id = ?", sequence, zone.id);
    this.#fill(
      zone,
      changes.flatMap(({ path, content }) => (content === null ? [] : [path])),
    );
    return { sequence, purges };
  }

  /** Has every node ask for new files, under the names by which sites in force show them. */
  #fill(zone: { readonly id: number; readonly name: string }, paths: readonly string[]): void {
    const row = this.#database.get<{ preposition: number; index_document: string }>(
      "SELECT preposition, index_document FROM zones WHERE id = ?",
      zone.id,
    );
    if (row?.preposition !== 1) return;
    const index = `/${row.index_document}`;
    for (const site of this.#sites.of(zone.name)) {
      const hosts = this.#database
        .all<{ host: string }>("SELECT host FROM hosts WHERE site = ? ORDER BY host", site)
        .filter(({ host }) => !host.includes("*"))
        .slice(0, FILLED_HOSTS_MAX);
      const urls: string[] = [];
      for (const { host } of hosts)
        for (const path of paths) {
          if (urls.length >= FILLED_URLS_MAX) break;
          const target = `/${path.split("/").map(encodeURIComponent).join("/")}`;
          // Viewers ask for the folder.
          urls.push(host + (target.endsWith(index) ? target.slice(0, 1 - index.length) : target));
        }
      if (urls.length > 0) this.#log.append({ kind: "fill", site, urls }, urls.length);
    }
  }

  /** A purge for each site that shows, or has shown, the zone. */
  #tell(zone: { readonly name: string }, paths: readonly string[], by: string): FleetPurge[] {
    const targets =
      paths.length > PURGED_PATHS_MAX ? [zoneTag(zone.name)] : paths.map((path) => pathTag(zone.name, path));
    return this.#sites
      .of(zone.name)
      .map((site) =>
        this.#purges.create({ site, scope: "tag", targets, mode: "hard", idempotencyKey: null }, by),
      );
  }
}

function fileOf(row: Row): ZoneFile {
  return {
    path: row.path,
    hash: row.hash,
    bytes: row.bytes,
    type: row.type,
    etag: row.etag,
    // Written by `change` alone.
    fields: JSON.parse(row.fields) as Record<string, string>,
    checksums: JSON.parse(row.checksums) as Record<string, string>,
    modifiedMs: row.modified_ms,
  };
}

/**
 * Releases: what a zone holds, whole, under a number. Making one current changes the zone's files to it in
 * one step, and so does going back. A zone keeps some; the one that is current always.
 */
import { createHash } from "node:crypto";
import type { Clock } from "../../base/clock.ts";
import { extensionType } from "../../http/media-type.ts";
import { RELEASE_FILES_MAX, RELEASES_KEPT_MAX } from "../../storage/limits.ts";
import { StorageError } from "../../storage/storage-error.ts";
import { checkPath } from "../../storage/zone-path.ts";
import type { ControlDatabase } from "../database.ts";
import { Refused } from "../refusal.ts";
import type { Blobs } from "./blobs.ts";
import type { FileChange, ZoneChange, ZoneFiles } from "./zone-files.ts";

/** A file of a release, as one asks for it. */
export interface ReleaseFile {
  readonly path: string;
  readonly hash: string;
  readonly bytes: number;
  /** Left out: by the name. */
  readonly type?: string | undefined;
}

/** A release as one asks for it. */
export interface ReleaseView {
  readonly zone: string;
  readonly number: number;
  readonly digest: string;
  readonly files: number;
  readonly bytes: number;
  readonly note: string;
  readonly createdAt: string;
  readonly createdBy: string;
  readonly current: boolean;
  /** When it was last made current; null when it never was. */
  readonly activeAt: string | null;
}

/** What making a release current changed. */
export interface Activation {
  readonly release: ReleaseView;
  readonly changed: readonly string[];
  readonly removed: readonly string[];
  readonly change: ZoneChange | null;
}

/** What releases need to know of their zone. */
export interface ReleasedZone {
  readonly id: number;
  readonly name: string;
  readonly keep: number;
}

interface Row {
  readonly number: number;
  readonly digest: string;
  readonly files: number;
  readonly bytes: number;
  readonly note: string;
  readonly created_ms: number;
  readonly created_by: string;
  readonly active_ms: number | null;
}

/** Releases of all zones. Changes belong into the caller's transaction. */
export class Releases {
  readonly #database: ControlDatabase;
  readonly #files: ZoneFiles;
  readonly #blobs: Blobs;
  readonly #clock: Clock;

  constructor(database: ControlDatabase, files: ZoneFiles, blobs: Blobs, clock: Clock) {
    this.#database = database;
    this.#files = files;
    this.#blobs = blobs;
    this.#clock = clock;
  }

  /** Makes a release of content that is here; one with the newest one's files is that one. Throws a Refused. */
  create(zone: ReleasedZone, files: readonly ReleaseFile[], note: string, by: string): ReleaseView {
    if (files.length > RELEASE_FILES_MAX)
      throw new Refused(
        422,
        `the release has ${files.length} files; at most ${RELEASE_FILES_MAX} are allowed`,
      );
    const sorted = files.map(checked).sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0));
    const twice = sorted.find((file, index) => file.path === sorted[index - 1]?.path);
    if (twice !== undefined) throw new Refused(422, `the path "${twice.path}" stands twice`);
    this.#mustBeHere(sorted);
    const digest = digestOf(sorted);
    const newest = this.#database.get<Row>(
      "SELECT * FROM zone_releases WHERE zone = ? ORDER BY number DESC LIMIT 1",
      zone.id,
    );
    if (newest?.digest === digest) return this.#view(zone, newest);
    const waiting = this.#database.get<{ n: number }>(
      "SELECT count(*) AS n FROM zone_releases WHERE zone = ?1 AND active_ms IS NULL AND number > (SELECT coalesce(release, 0) FROM zones WHERE id = ?1)",
      zone.id,
    );
    if ((waiting?.n ?? 0) >= RELEASES_KEPT_MAX)
      throw new Refused(
        409,
        `${RELEASES_KEPT_MAX} releases of zone "${zone.name}" were never current, which is the limit: make a newer one current`,
      );
    const number =
      (this.#database.get<{ n: number | null }>("SELECT released AS n FROM zones WHERE id = ?", zone.id)?.n ??
        0) + 1;
    this.#database.run("UPDATE zones SET released = ? WHERE id = ?", number, zone.id);
    this.#database.run(
      "INSERT INTO zone_releases (zone, number, digest, files, bytes, note, created_ms, created_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
      zone.id,
      number,
      digest,
      sorted.length,
      sorted.reduce((sum, { bytes }) => sum + bytes, 0),
      note,
      Math.floor(this.#clock.now()),
      by,
    );
    for (const { path, hash, bytes, type } of sorted)
      this.#database.run(
        "INSERT INTO zone_release_files (zone, number, path, hash, bytes, type) VALUES (?, ?, ?, ?, ?, ?)",
        zone.id,
        number,
        path,
        hash,
        bytes,
        type,
      );
    return this.get(zone, number);
  }

  /** Makes the zone hold what the release holds, in one step. Nothing happens when it does already. */
  activate(zone: ReleasedZone, number: number, by: string): Activation {
    this.get(zone, number);
    const now = new Map(
      this.#database
        .all<{ path: string; hash: string; type: string; fields: string }>(
          "SELECT path, hash, type, fields FROM zone_files WHERE zone = ? AND until IS NULL",
          zone.id,
        )
        .map((row) => [row.path, row]),
    );
    const changes: FileChange[] = [];
    const changed: string[] = [];
    for (const file of this.#database.all<{ path: string; hash: string; bytes: number; type: string }>(
      "SELECT path, hash, bytes, type FROM zone_release_files WHERE zone = ? AND number = ? ORDER BY path",
      zone.id,
      number,
    )) {
      const before = now.get(file.path);
      now.delete(file.path);
      // What was uploaded by itself may have fields of its own, which a release has not.
      if (before?.hash === file.hash && before.type === file.type && before.fields === "{}") continue;
      changed.push(file.path);
      const { path, hash, bytes, type } = file;
      changes.push({ path, content: { hash, bytes, type, etag: null, fields: {}, checksums: {} } });
    }
    const removed = [...now.keys()];
    for (const path of removed) changes.push({ path, content: null });
    const change = this.#files.change(zone, changes, by);
    this.#database.run("UPDATE zones SET release = ? WHERE id = ?", number, zone.id);
    this.#database.run(
      "UPDATE zone_releases SET active_ms = ? WHERE zone = ? AND number = ?",
      Math.floor(this.#clock.now()),
      zone.id,
      number,
    );
    this.#trim(zone);
    return { release: this.get(zone, number), changed, removed, change };
  }

  /** The release that was current before the current one. Throws a Refused 409. */
  previous(zone: ReleasedZone): number {
    const row = this.#database.get<{ number: number }>(
      "SELECT number FROM zone_releases WHERE zone = ? AND active_ms IS NOT NULL AND number < (SELECT coalesce(release, 0) FROM zones WHERE id = ?) ORDER BY number DESC LIMIT 1",
      zone.id,
      zone.id,
    );
    if (row === null)
      throw new Refused(
        409,
        `zone "${zone.name}" keeps no older release that was current before; name the one you want`,
      );
    return row.number;
  }

  get(zone: ReleasedZone, number: number): ReleaseView {
    const row = this.#database.get<Row>(
      "SELECT * FROM zone_releases WHERE zone = ? AND number = ?",
      zone.id,
      number,
    );
    if (row === null) throw new Refused(404, `zone "${zone.name}" has no release ${number} (any more)`);
    return this.#view(zone, row);
  }

  list(zone: ReleasedZone, limit: number, before: number): ReleaseView[] {
    return this.#database
      .all<Row>(
        "SELECT * FROM zone_releases WHERE zone = ? AND number < ? ORDER BY number DESC LIMIT ?",
        zone.id,
        before,
        limit,
      )
      .map((row) => this.#view(zone, row));
  }

  /** All that a release needs has to be here, of the length that it says. */
  #mustBeHere(files: readonly ReleaseFile[]): void {
    const hashes = [...new Set(files.map(({ hash }) => hash))];
    const missing = this.#blobs.missing(hashes);
    if (missing.length > 0)
      throw new Refused(409, `the content of ${missing.length} files is not here yet: upload it first`, {
        members: { missing: missing.slice(0, 1_000) },
      });
    const sizes = this.#blobs.sizesOf(hashes);
    const wrong = files.find(({ hash, bytes }) => sizes.get(hash) !== bytes);
    if (wrong !== undefined)
      throw new Refused(422, `"${wrong.path}" has ${sizes.get(wrong.hash)} bytes, not ${wrong.bytes}`);
  }

  /** The oldest go, but never the current one, nor newer ones that were not current yet. */
  #trim(zone: ReleasedZone): void {
    const gone = this.#database.all<{ number: number }>(
      `SELECT number FROM zone_releases WHERE zone = ?1 AND number <> (SELECT coalesce(release, 0) FROM zones WHERE id = ?1)
       AND (active_ms IS NOT NULL OR number < (SELECT coalesce(release, 0) FROM zones WHERE id = ?1))
       ORDER BY number DESC LIMIT -1 OFFSET ?2`,
      zone.id,
      zone.keep - 1,
    );
    for (const { number } of gone) {
      this.#database.run("DELETE FROM zone_release_files WHERE zone = ? AND number = ?", zone.id, number);
      this.#database.run("DELETE FROM zone_releases WHERE zone = ? AND number = ?", zone.id, number);
    }
  }

  #view(zone: ReleasedZone, row: Row): ReleaseView {
    const current = this.#database.get<{ release: number | null }>(
      "SELECT release FROM zones WHERE id = ?",
      zone.id,
    );
    return {
      zone: zone.name,
      number: row.number,
      digest: row.digest,
      files: row.files,
      bytes: row.bytes,
      note: row.note,
      createdAt: new Date(row.created_ms).toISOString(),
      createdBy: row.created_by,
      current: current?.release === row.number,
      activeAt: row.active_ms === null ? null : new Date(row.active_ms).toISOString(),
    };
  }
}

function checked(file: ReleaseFile): Required<ReleaseFile> & { readonly type: string } {
  try {
    checkPath(file.path);
  } catch (error) {
    if (error instanceof StorageError)
      throw new Refused(422, `${JSON.stringify(file.path.slice(0, 200))}: ${error.message}`);
    throw error;
  }
  if (file.path.endsWith("/")) throw new Refused(422, `"${file.path}" is a folder`);
  return { ...file, type: file.type ?? extensionType(file.path) ?? "application/octet-stream" };
}

function digestOf(files: readonly (ReleaseFile & { readonly type: string })[]): string {
  const hash = createHash("sha256");
  for (const { path, hash: content, type } of files) hash.update(`${path}\0${content}\0${type}\n`);
  return hash.digest("hex");
}

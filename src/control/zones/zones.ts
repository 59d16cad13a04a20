/** The zones: made, looked up and ended; and what is under way in them. Names of ended zones may be used again, ids never. */
import { randomBytes } from "node:crypto";
import type { Clock } from "../../base/clock.ts";
import type { BodyReader } from "../../http/body.ts";
import type { Announced, Taken } from "../../storage/intake.ts";
import { PAST_KEPT_MS, UPLOAD_KEPT_MS, UPLOADS_MAX } from "../../storage/limits.ts";
import { StorageError } from "../../storage/storage-error.ts";
import type {
  FileContent,
  ListPage,
  PartUpload,
  Principal,
  UploadedPart,
  Zone,
  ZoneFile,
  ZoneStore,
} from "../../storage/zone-store.ts";
import type { ControlDatabase } from "../database.ts";
import { ZONES_MAX } from "../limits.ts";
import { Refused } from "../refusal.ts";
import type { Blobs } from "./blobs.ts";
import { type Activation, Releases } from "./releases.ts";
import type { ZoneFiles } from "./zone-files.ts";
import type { ZoneSites } from "./zone-sites.ts";

/** A zone as one asks for it. */
export interface ZoneView {
  readonly name: string;
  readonly site: string | null;
  readonly indexDocument: string;
  readonly errorDocument: string | null;
  readonly keepReleases: number;
  /** Do nodes ask for new files ahead of viewers? */
  readonly preposition: boolean;
  readonly createdAt: string;
  readonly createdBy: string;
  /** Number of the release that was made current last; null when there was none. */
  readonly release: number | null;
  readonly files: number;
  readonly bytes: number;
  /** Sites that show it. */
  readonly shownBy: readonly string[];
}

/** What a new zone is to be. */
export interface ZoneRequest {
  readonly name: string;
  readonly site?: string | null | undefined;
  readonly indexDocument: string;
  readonly errorDocument?: string | null | undefined;
  readonly keepReleases: number;
  readonly preposition?: boolean | undefined;
}

/** A zone with what the edges' questions need. */
export interface ZoneRow {
  readonly id: number;
  readonly name: string;
  readonly site: string | null;
  readonly index_document: string;
  readonly error_document: string | null;
  readonly keep: number;
  readonly preposition: number;
  readonly created_ms: number;
  readonly created_by: string;
  readonly release: number | null;
}

/** The zones. */
export class Zones implements ZoneStore {
  readonly files: ZoneFiles;
  readonly releases: Releases;
  readonly blobs: Blobs;
  readonly #database: ControlDatabase;
  readonly #sites: ZoneSites;
  readonly #clock: Clock;

  constructor(database: ControlDatabase, files: ZoneFiles, blobs: Blobs, sites: ZoneSites, clock: Clock) {
    this.#database = database;
    this.files = files;
    this.blobs = blobs;
    this.#sites = sites;
    this.#clock = clock;
    this.releases = new Releases(database, files, blobs, clock);
  }

  create(request: ZoneRequest, by: string): ZoneView {
    if (this.#row(request.name) !== null) throw new Refused(409, `there is a zone "${request.name}" already`);
    const count =
      this.#database.get<{ n: number }>("SELECT count(*) AS n FROM zones WHERE deleted_ms IS NULL")?.n ?? 0;
    if (count >= ZONES_MAX)
      throw new Refused(409, `there are ${count} zones; at most ${ZONES_MAX} are allowed`);
    this.#database.run(
      "INSERT INTO zones (name, site, index_document, error_document, keep, preposition, created_ms, created_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
      request.name,
      request.site ?? null,
      request.indexDocument,
      request.errorDocument ?? null,
      request.keepReleases,
      request.preposition === false ? 0 : 1,
      this.#now(),
      by,
    );
    return this.view(request.name);
  }

  /** Ends a zone and everything in it. Throws a Refused while a site in force shows it. */
  end(name: string, inForce: readonly string[], by: string): void {
    const zone = this.mustGet(name);
    const shows = this.#sites.of(name).filter((site) => inForce.includes(site));
    if (shows.length > 0)
      throw new Refused(409, `zone "${name}" is shown by ${shows.join(", ")}: take its origin out first`);
    const gone = this.files.pathsBelow(zone.id, "").map((path) => ({ path, content: null }));
    this.files.change(zone, gone, by);
    for (const table of ["zone_release_files", "zone_releases"])
      this.#database.run(`DELETE FROM ${table} WHERE zone = ?`, zone.id);
    this.#database.run(
      "DELETE FROM zone_parts WHERE upload IN (SELECT id FROM zone_uploads WHERE zone = ?)",
      zone.id,
    );
    this.#database.run("DELETE FROM zone_uploads WHERE zone = ?", zone.id);
    this.#database.run("UPDATE zones SET deleted_ms = ? WHERE id = ?", this.#now(), zone.id);
  }

  /** Throws a Refused 404. */
  mustGet(name: string): ZoneRow {
    const row = this.#row(name);
    if (row === null) throw new Refused(404, `there is no zone "${name.slice(0, 100)}"`);
    return row;
  }

  view(name: string): ZoneView {
    const row = this.mustGet(name);
    const sum = this.#database.get<{ files: number; bytes: number | null }>(
      "SELECT count(*) AS files, sum(bytes) AS bytes FROM zone_files WHERE zone = ? AND until IS NULL",
      row.id,
    );
    return {
      name: row.name,
      site: row.site,
      indexDocument: row.index_document,
      errorDocument: row.error_document,
      keepReleases: row.keep,
      preposition: row.preposition === 1,
      createdAt: new Date(row.created_ms).toISOString(),
      createdBy: row.created_by,
      release: row.release,
      files: sum?.files ?? 0,
      bytes: sum?.bytes ?? 0,
      shownBy: this.#sites.of(row.name),
    };
  }

  names(): string[] {
    return this.#database
      .all<{ name: string }>("SELECT name FROM zones WHERE deleted_ms IS NULL ORDER BY name")
      .map(({ name }) => name);
  }

  activate(name: string, number: number, by: string): Activation {
    return this.releases.activate(this.mustGet(name), number, by);
  }

  /** Drops what is not needed any more. */
  async collect(): Promise<{ readonly blobs: number; readonly bytes: number }> {
    const nowMs = this.#now();
    this.#database.transaction(() => {
      this.#database.run("DELETE FROM zone_files WHERE until_ms < ?", nowMs - PAST_KEPT_MS);
      this.#database.run(
        "DELETE FROM zone_parts WHERE upload IN (SELECT id FROM zone_uploads WHERE started_ms < ?)",
        nowMs - UPLOAD_KEPT_MS,
      );
      this.#database.run("DELETE FROM zone_uploads WHERE started_ms < ?", nowMs - UPLOAD_KEPT_MS);
    });
    return await this.blobs.collect();
  }

  // ZoneStore

  zone(name: string): Zone | null {
    const row = this.#row(name);
    return row === null ? null : zoneOf(row);
  }

  zones(who: Principal): Zone[] {
    return this.#database
      .all<ZoneRow>("SELECT * FROM zones WHERE deleted_ms IS NULL ORDER BY name")
      .map(zoneOf)
      .filter((zone) => who.mayRead(zone));
  }

  get(zone: Zone, path: string): ZoneFile | null {
    return this.files.get(zone.id, path);
  }

  list(zone: Zone, how: Parameters<ZoneStore["list"]>[1]): ListPage {
    return this.files.list(zone.id, how);
  }

  take(body: BodyReader | null, announced: Announced): Promise<Taken> {
    return this.blobs.take(body, announced);
  }

  put(
    zone: Zone,
    path: string,
    content: FileContent,
    by: Principal,
    condition?: (now: ZoneFile | null) => void,
  ): ZoneFile {
    return this.#database.transaction(() => {
      const now = this.files.get(zone.id, path);
      condition?.(now);
      // The zone may have ended, and the content been dropped, since the body began to come.
      if (this.#row(zone.name)?.id !== zone.id) throw new StorageError("no_zone", "the zone has ended");
      if (this.blobs.missing([content.hash]).length > 0)
        throw new StorageError("unavailable", "the content is not here any more: send it again");
      if (now === null || !isSame(now, content)) this.files.change(zone, [{ path, content }], by.id);
      const file = this.files.get(zone.id, path);
      if (file === null) throw new Error("assertion failed: a file that was put is there");
      return file;
    });
  }

  delete(zone: Zone, paths: readonly string[], by: Principal): readonly string[] {
    return this.#database.transaction(() => {
      const there = [...new Set(paths)].filter((path) => this.files.get(zone.id, path) !== null);
      this.files.change(
        zone,
        there.map((path) => ({ path, content: null })),
        by.id,
      );
      return there;
    });
  }

  deleteFolder(zone: Zone, prefix: string, by: Principal): number {
    return this.delete(zone, this.files.pathsBelow(zone.id, prefix), by).length;
  }

  read({ hash }: Pick<FileContent, "hash" | "bytes">, start: number, end: number): Promise<BodyReader> {
    return this.blobs.read(hash, start, end);
  }

  beginUpload(zone: Zone, path: string, type: string, fields: Readonly<Record<string, string>>): PartUpload {
    const count =
      this.#database.get<{ n: number }>("SELECT count(*) AS n FROM zone_uploads WHERE zone = ?", zone.id)
        ?.n ?? 0;
    if (count >= UPLOADS_MAX)
      throw new StorageError("too_many", `${count} uploads are under way in this zone; end some`);
    const id = randomBytes(24).toString("hex");
    this.#database.run(
      "INSERT INTO zone_uploads (id, zone, path, type, fields, started_ms) VALUES (?, ?, ?, ?, ?, ?)",
      id,
      zone.id,
      path,
      type,
      JSON.stringify(fields),
      this.#now(),
    );
    return { id, path, type, fields, startedMs: this.#now() };
  }

  upload(zone: Zone, path: string, id: string): PartUpload {
    const row = this.#database.get<UploadRow>(
      "SELECT * FROM zone_uploads WHERE id = ? AND zone = ? AND path = ?",
      id,
      zone.id,
      path,
    );
    if (row === null)
      throw new StorageError(
        "no_upload",
        "there is no such upload: it was completed, given up, or is of another file",
      );
    return uploadOf(row);
  }

  uploads(zone: Zone, prefix: string): PartUpload[] {
    return this.#database
      .all<UploadRow>("SELECT * FROM zone_uploads WHERE zone = ? ORDER BY path, started_ms", zone.id)
      .filter(({ path }) => path.startsWith(prefix))
      .map(uploadOf);
  }

  addPart(upload: PartUpload, part: Omit<UploadedPart, "uploadedMs">): void {
    this.#database.transaction(() => {
      if (this.#database.get("SELECT 1 FROM zone_uploads WHERE id = ?", upload.id) === null)
        throw new StorageError("no_upload", "the upload was completed or given up meanwhile");
      if (this.blobs.missing([part.hash]).length > 0)
        throw new StorageError("unavailable", "the part is not here any more: send it again");
      this.#database.run(
        "INSERT OR REPLACE INTO zone_parts (upload, number, hash, bytes, etag, uploaded_ms) VALUES (?, ?, ?, ?, ?, ?)",
        upload.id,
        part.number,
        part.hash,
        part.bytes,
        part.etag,
        this.#now(),
      );
    });
  }

  parts(upload: PartUpload): UploadedPart[] {
    return this.#database
      .all<{ number: number; hash: string; bytes: number; etag: string; uploaded_ms: number }>(
        "SELECT * FROM zone_parts WHERE upload = ? ORDER BY number",
        upload.id,
      )
      .map(({ uploaded_ms, ...part }) => ({ ...part, uploadedMs: uploaded_ms }));
  }

  endUpload(upload: PartUpload): void {
    this.#database.transaction(() => {
      this.#database.run("DELETE FROM zone_parts WHERE upload = ?", upload.id);
      this.#database.run("DELETE FROM zone_uploads WHERE id = ?", upload.id);
    });
  }

  #row(name: string): ZoneRow | null {
    return this.#database.get<ZoneRow>("SELECT * FROM zones WHERE name = ? AND deleted_ms IS NULL", name);
  }

  #now(): number {
    return Math.floor(this.#clock.now());
  }
}

interface UploadRow {
  readonly id: string;
  readonly path: string;
  readonly type: string;
  readonly fields: string;
  readonly started_ms: number;
}

function uploadOf(row: UploadRow): PartUpload {
  // Written by `beginUpload` alone.
  const fields = JSON.parse(row.fields) as Record<string, string>;
  return { id: row.id, path: row.path, type: row.type, fields, startedMs: row.started_ms };
}

function zoneOf(row: ZoneRow): Zone {
  return { id: row.id, name: row.name, site: row.site, createdMs: row.created_ms };
}

function isSame(now: ZoneFile, content: FileContent): boolean {
  return (
    now.hash === content.hash &&
    now.type === content.type &&
    now.etag === content.etag &&
    Bun.deepEquals(now.fields, content.fields) &&
    Bun.deepEquals(now.checksums, content.checksums)
  );
}

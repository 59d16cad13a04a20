/**
 * Storage in Bunny's shape: `PUT /{zone}/{path}` and so on, with the zone's password in AccessKey. The
 * prefix `/storage/v2` and slashes that stand twice behind the zone are what scripts and the vendor's own
 * client send. A path with a slash at its end is a folder: GET lists it, PUT makes it, DELETE empties it.
 */
import { randomUUID } from "node:crypto";
import { extensionType } from "../http/media-type.ts";
import { FILE_BYTES_MAX, LIST_ALL_MAX, LIST_PAGE_MAX } from "./limits.ts";
import { type Asked, answer, fileAnswer, type StorageResponse } from "./message.ts";
import { StorageError, type StorageFault } from "./storage-error.ts";
import { checkPath, decodePath } from "./zone-path.ts";
import type { Principal, Zone, ZoneFile, ZoneStore } from "./zone-store.ts";

const STATUS: Readonly<Record<StorageFault, number>> = {
  bad_request: 400,
  bad_path: 400,
  no_zone: 404,
  no_file: 404,
  no_upload: 404,
  too_large: 413,
  too_many: 400,
  cut_short: 400,
  checksum_mismatch: 400,
  bad_signature: 400,
  precondition: 412,
  bad_part: 400,
  part_too_small: 400,
  not_implemented: 405,
  unavailable: 503,
};

/** Is it a request in this shape? */
export function isBunny({ request, path }: Asked): boolean {
  return request.fields.has("accesskey") || path.startsWith("/storage/v2/");
}

/** Zone and path of a request: decoded, without the slashes in front. */
export function bunnyPlace({ path }: Asked): { readonly zone: string; readonly path: string } {
  const plain = path.startsWith("/storage/v2/") ? path.slice("/storage/v2".length) : path;
  const [, zone = "", rest = ""] = /^\/+([^/]*)(.*)$/.exec(plain) ?? [];
  return { zone: decodePath(zone), path: decodePath(rest).replace(/^\/+/, "") };
}

/** An error as this API says it. */
export function bunnyError(error: StorageError): StorageResponse {
  return message(STATUS[error.code], error.message);
}

/** A line as this API says it. */
export function message(status: number, text: string): StorageResponse {
  return answer(status, JSON.stringify({ HttpCode: status, Message: text }), "application/json");
}

/** Answers for a zone that the principal may see. Rejects with a StorageError. */
export async function answerBunny(
  asked: Asked,
  {
    zone,
    path,
    who,
    store,
  }: { readonly zone: Zone; readonly path: string; readonly who: Principal; readonly store: ZoneStore },
): Promise<StorageResponse> {
  const { request } = asked;
  const isFolder = path === "" || path.endsWith("/");
  if (path !== "") checkPath(path);
  switch (request.method) {
    case "GET":
    case "HEAD":
      return isFolder ? list(zone, path, store) : await file(asked, zone, path, store);
    case "DESCRIBE": {
      const found = isFolder ? null : store.get(zone, path);
      const entry = found === null ? (isFolder ? folderOf(zone, path, store) : null) : fileEntry(zone, found);
      if (entry === null) throw missing();
      return answer(200, JSON.stringify(entry), "application/json");
    }
    case "PUT":
      return await put(asked, zone, path, who, store);
    case "DELETE": {
      const count = isFolder ? store.deleteFolder(zone, path, who) : store.delete(zone, [path], who).length;
      if (count === 0 && !(isFolder && path === "")) throw missing();
      return message(200, isFolder ? "Directory deleted successfuly." : "File deleted successfuly.");
    }
    default:
      return message(405, `${request.method.slice(0, 32)} is not a method of storage`);
  }
}

async function put(
  asked: Asked,
  zone: Zone,
  path: string,
  who: Principal,
  store: ZoneStore,
): Promise<StorageResponse> {
  const { fields } = asked.request;
  const isFolder = path.endsWith("/");
  if (path === "") throw new StorageError("bad_path", "the path is empty");
  const told = fields.get("content-length");
  const sha256 = fields.get("checksum");
  if (sha256 !== null && !/^[0-9a-fA-F]{64}$/.test(sha256))
    throw new StorageError("bad_request", "Checksum is not a SHA-256 in hexadecimal");
  const taken = await store.take(asked.request.body(), {
    bytesMax: isFolder ? 0 : FILE_BYTES_MAX,
    bytes: told === null ? null : Number(told),
    sha256: sha256?.toLowerCase() ?? null,
    checksums: [],
  });
  store.put(zone, path, { ...taken, type: typeOf(asked, path), etag: null, fields: {}, checksums: {} }, who);
  return message(201, isFolder ? "Directory created." : "File uploaded.");
}

/** The one that is said to override, or that of the name: what uploaders send of themselves says nothing. */
function typeOf({ request }: Asked, path: string): string {
  const told = request.fields.get("override-content-type");
  if (told !== null) return checkType(told);
  const sent = request.fields.get("content-type");
  const usual =
    sent === null ||
    sent.startsWith("application/octet-stream") ||
    sent.startsWith("application/x-www-form-urlencoded");
  return extensionType(path) ?? (usual ? "application/octet-stream" : checkType(sent));
}

function checkType(type: string): string {
  if (type.length > 200 || !/^[\w!#$&^.+-]+\/[\w!#$&^.+-]+(?:\s*;[\x20-\x7e]*)?$/.test(type))
    throw new StorageError("bad_request", "the content type is none");
  return type;
}

async function file(asked: Asked, zone: Zone, path: string, store: ZoneStore): Promise<StorageResponse> {
  const { method, fields } = asked.request;
  const found = store.get(zone, path);
  if (found === null) throw missing();
  const outcome = fileAnswer(method, fields, found);
  switch (outcome.kind) {
    case "not-modified":
      return { status: 304, fields: outcome.fields, body: null };
    case "precondition-failed":
      return message(412, "the file is another one");
    case "unsatisfiable":
      return answer(416, null, "", { "content-range": outcome.contentRange });
    case "file": {
      outcome.fields.set("checksum", found.hash.toUpperCase());
      const body = method === "HEAD" ? null : await store.read(found, outcome.start, outcome.end);
      return { status: outcome.status, fields: outcome.fields, body };
    }
  }
}

function list(zone: Zone, folder: string, store: ZoneStore): StorageResponse {
  const entries: unknown[] = [];
  let after = "";
  for (;;) {
    const page = store.list(zone, { prefix: folder, after, delimiter: "/", limit: LIST_PAGE_MAX });
    for (const one of page.folders) entries.push(folderEntry(zone, one.slice(0, -1)));
    for (const one of page.files) if (one.path !== folder) entries.push(fileEntry(zone, one));
    if (entries.length > LIST_ALL_MAX)
      throw new StorageError(
        "too_many",
        `the folder has more than ${LIST_ALL_MAX} entries; list it over the S3 shape`,
      );
    if (page.next === null) break;
    after = page.next;
  }
  return answer(200, JSON.stringify(entries), "application/json");
}

function folderOf(zone: Zone, path: string, store: ZoneStore): Record<string, unknown> | null {
  const page = store.list(zone, { prefix: path, after: "", delimiter: "", limit: 1 });
  return page.files.length === 0 && path !== "" ? null : folderEntry(zone, path.replace(/\/$/, ""));
}

function fileEntry(zone: Zone, found: ZoneFile): Record<string, unknown> {
  const date = dateOf(found.modifiedMs);
  return {
    ...common(zone, found.path),
    Length: found.bytes,
    LastChanged: date,
    DateCreated: date,
    IsDirectory: false,
    ContentType: found.type,
    Checksum: found.hash.toUpperCase(),
  };
}

function folderEntry(zone: Zone, path: string): Record<string, unknown> {
  const date = dateOf(zone.createdMs);
  return {
    ...common(zone, path),
    Length: 0,
    LastChanged: date,
    DateCreated: date,
    IsDirectory: true,
    ContentType: "",
    Checksum: null,
  };
}

/** Guid is that of this answer: nobody asks for a file by it. ReplicatedZones names places of the vendor's alone. */
function common(zone: Zone, path: string): Record<string, unknown> {
  const slash = path.lastIndexOf("/");
  return {
    Guid: randomUUID(),
    StorageZoneName: zone.name,
    Path: `/${zone.name}/${path.slice(0, slash + 1)}`,
    ObjectName: path.slice(slash + 1),
    ServerId: 0,
    ArrayNumber: 0,
    UserId: "00000000-0000-0000-0000-000000000000",
    StorageZoneId: zone.id,
    ReplicatedZones: null,
  };
}

function dateOf(ms: number): string {
  return new Date(ms).toISOString().slice(0, -1);
}

function missing(): StorageError {
  return new StorageError("no_file", "Object Not Found");
}

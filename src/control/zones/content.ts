/**
 * What edges ask of a zone: a path as viewers write it, at a place of the fleet's log, answered as a static
 * host would. Every answer tells the edge to keep it for long, since a change purges it, and carries the tags
 * by which it is purged: of each path that was looked up, whether it was there or not.
 */

import { Fields } from "../../http/fields.ts";
import { isFingerprinted } from "../../http/fingerprint.ts";
import { etagOf, fileAnswer, type StorageResponse } from "../../storage/message.ts";
import { StorageError } from "../../storage/storage-error.ts";
import { checkPath, decodePath, pathTag, zoneTag } from "../../storage/zone-path.ts";
import type { ZoneFile } from "../../storage/zone-store.ts";
import type { ZoneRow, Zones } from "./zones.ts";

/** For how long edges keep an answer, in seconds: until it is purged. */
const EDGE_SECONDS = 31_536_000;
const IMMUTABLE = "public, max-age=31536000, immutable";
const REVALIDATE = "public, max-age=0, must-revalidate";

/** A question of an edge. */
export interface ContentQuestion {
  readonly method: string;
  /** Path and query as viewers send them. */
  readonly target: string;
  readonly fields: {
    get(name: string): string | null;
    has(name: string): boolean;
    entries(): Iterable<[string, string]>;
  };
  /** Up to where the edge has applied the fleet's log; null for now. */
  readonly asOf: number | null;
}

/** Answers it. Rejects with a StorageError "unavailable" when the content can not be read. */
export async function answerContent(
  zones: Zones,
  zone: ZoneRow,
  question: ContentQuestion,
): Promise<StorageResponse> {
  const { target, method } = question;
  const at = target.indexOf("?");
  const encoded = (at < 0 ? target : target.slice(0, at)).slice(1);
  const query = at < 0 ? "" : target.slice(at);
  if (method !== "GET" && method !== "HEAD") return plain(zone, 405, [], { allow: "GET, HEAD" });
  const path = pathOf(encoded, zone.index_document);
  if (path === null) return await missing(zones, zone, question, []);
  const looked = [path];
  const file = zones.files.get(zone.id, path, question.asOf);
  if (file !== null) return await fileOf(zones, zone, question, file, looked);
  // A folder that was asked for without its slash leads to it, as in a directory.
  if (encoded !== "" && !encoded.endsWith("/")) {
    const index = `${path}/${zone.index_document}`;
    looked.push(index);
    if (zones.files.get(zone.id, index, question.asOf) !== null) {
      const name = encoded.slice(encoded.lastIndexOf("/") + 1);
      return plain(zone, 301, looked, { location: `./${name}/${query}` });
    }
  }
  return await missing(zones, zone, question, looked);
}

/** The path of a file; null for what no file can be called. */
function pathOf(encoded: string, index: string): string | null {
  try {
    const path = decodePath(encoded);
    return checkPath(path === "" || path.endsWith("/") ? path + index : path);
  } catch (error) {
    if (error instanceof StorageError) return null;
    throw error;
  }
}

async function fileOf(
  zones: Zones,
  zone: ZoneRow,
  question: ContentQuestion,
  file: ZoneFile,
  looked: readonly string[],
): Promise<StorageResponse> {
  const outcome = fileAnswer(
    question.method,
    question.fields,
    file,
    etagOf({ hash: file.hash, etag: file.hash.slice(0, 32) }),
  );
  switch (outcome.kind) {
    case "precondition-failed":
      return plain(zone, 412, looked, {}, 0);
    case "unsatisfiable":
      return plain(zone, 416, looked, { "content-range": outcome.contentRange }, 0);
    case "not-modified":
      return { status: 304, fields: withPolicy(zone, outcome.fields, file, looked), body: null };
    case "file": {
      const body =
        question.method === "HEAD" ? null : await zones.blobs.read(file.hash, outcome.start, outcome.end);
      return { status: outcome.status, fields: withPolicy(zone, outcome.fields, file, looked), body };
    }
  }
}

/** The zone's error document, or a line. */
async function missing(
  zones: Zones,
  zone: ZoneRow,
  question: ContentQuestion,
  looked: readonly string[],
): Promise<StorageResponse> {
  const name = zone.error_document;
  if (name === null) return plain(zone, 404, looked, {});
  const all = [...looked, name];
  const page = zones.files.get(zone.id, name, question.asOf);
  if (page === null) return plain(zone, 404, all, {});
  const fields = Fields.from([
    ["content-type", page.type],
    ["content-length", String(page.bytes)],
    ...policy(zone, all, REVALIDATE),
  ]);
  // What was uploaded in a coding is read by nobody who is not told which.
  for (const name of ["content-encoding", "content-language"]) {
    const value = page.fields[name];
    if (value !== undefined) fields.set(name, value);
  }
  const body = question.method === "HEAD" ? null : await zones.blobs.read(page.hash, 0, page.bytes);
  return { status: 404, fields, body };
}

/** Fields of a file as viewers and edges get it: its own where the uploader gave some. */
function withPolicy(zone: ZoneRow, fields: Fields, file: ZoneFile, looked: readonly string[]): Fields {
  const isPage = /^(?:text\/html|application\/xhtml\+xml)\b/.test(file.type);
  const usual = isPage ? REVALIDATE : isFingerprinted(file.path) ? IMMUTABLE : null;
  const own = fields.get("cache-control");
  for (const [name, value] of policy(zone, looked, own ?? usual)) fields.set(name, value);
  const metaTags = file.fields["x-amz-meta-cache-tag"];
  if (metaTags !== undefined) fields.set("cache-tag", metaTags);
  // The uploader's notes are not for viewers.
  for (const name of Object.keys(file.fields)) if (name.startsWith("x-amz-")) fields.delete(name);
  return fields;
}

function policy(
  zone: ZoneRow,
  looked: readonly string[],
  cacheControl: string | null,
  edgeSeconds = EDGE_SECONDS,
): [string, string][] {
  const isPrivate = cacheControl !== null && /\b(?:private|no-store)\b/i.test(cacheControl);
  return [
    ["surrogate-key", [zoneTag(zone.name), ...looked.map((path) => pathTag(zone.name, path))].join(" ")],
    ...(cacheControl === null ? [] : [["cache-control", cacheControl] as [string, string]]),
    // What the uploader wants stored nowhere is stored nowhere (RFC 9213 section 2.2: the targeted field would win).
    ...(isPrivate ? [] : [["cdn-cache-control", `max-age=${edgeSeconds}`] as [string, string]]),
  ];
}

function plain(
  zone: ZoneRow,
  status: number,
  looked: readonly string[],
  fields: Readonly<Record<string, string>>,
  edgeSeconds = EDGE_SECONDS,
): StorageResponse {
  const text = `${status}\n`;
  return {
    status,
    fields: Fields.from([
      ["content-type", "text/plain; charset=utf-8"],
      ["content-length", String(text.length)],
      ...policy(zone, looked, REVALIDATE, edgeSeconds),
      ...Object.entries(fields),
    ]),
    body: new TextEncoder().encode(text),
  };
}

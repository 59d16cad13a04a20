/** Objects of the S3 API: put, copy, get, head, delete. */
import { FILE_BYTES_MAX } from "../limits.ts";
import { type Asked, answer, etagOf, fileAnswer, type StorageResponse } from "../message.ts";
import { StorageError } from "../storage-error.ts";
import { checkPath, decodePath } from "../zone-path.ts";
import type { Zone, ZoneFile } from "../zone-store.ts";
import type { S3Call } from "./call.ts";
import { takeBody } from "./incoming.ts";
import { keptFields, sentType } from "./kept-fields.ts";
import { xmlAnswer } from "./xml.ts";

/** PutObject. */
export async function putObject({
  asked,
  zone,
  path,
  who,
  store,
  signature,
}: S3Call): Promise<StorageResponse> {
  const { request } = asked;
  const condition = writeCondition(asked);
  const fields = keptFields(request.fields);
  const taken = await takeBody(request, signature, store, path.endsWith("/") ? 0 : FILE_BYTES_MAX);
  const md5 = Buffer.from(taken.checksums.md5 ?? "", "base64").toString("hex");
  const { md5: _, ...checksums } = taken.checksums;
  const file = store.put(
    zone,
    path,
    { hash: taken.hash, bytes: taken.bytes, type: sentType(request.fields), etag: md5, fields, checksums },
    who,
    condition,
  );
  return answer(200, null, "", { etag: etagOf(file), ...checksumFields(file) });
}

/** CopyObject: the content is there already, only its name is new. */
export function copyObject(call: S3Call): StorageResponse {
  const { asked, zone, path, who, store } = call;
  const { fields } = asked.request;
  const source = copySource(call);
  const same = source.path === path && source.zone.id === zone.id;
  const replaces = (fields.get("x-amz-metadata-directive") ?? "COPY").toUpperCase() === "REPLACE";
  if (same && !replaces)
    throw new StorageError("bad_request", "a file can be copied onto itself only with other metadata");
  const file = store.put(
    zone,
    path,
    {
      hash: source.file.hash,
      bytes: source.file.bytes,
      etag: source.file.etag,
      checksums: source.file.checksums,
      type: replaces ? sentType(fields) : source.file.type,
      fields: replaces ? keptFields(fields) : source.file.fields,
    },
    who,
    writeCondition(asked),
  );
  return xmlAnswer(200, "CopyObjectResult", [
    ["LastModified", new Date(file.modifiedMs).toISOString()],
    ["ETag", etagOf(file)],
  ]);
}

/** The file that x-amz-copy-source names, its conditions held. Throws a StorageError. */
export function copySource({ asked, who, store, find }: S3Call): {
  zone: Zone;
  path: string;
  file: ZoneFile;
} {
  const { fields } = asked.request;
  const named = (fields.get("x-amz-copy-source") ?? "").replace(/^\//, "");
  const slash = named.indexOf("/");
  if (slash < 0 || named.includes("?"))
    throw new StorageError(
      "bad_request",
      "x-amz-copy-source has to be a bucket and a key, without a version",
    );
  const zone = find(decodePath(named.slice(0, slash)), who, "read");
  const path = checkPath(decodePath(named.slice(slash + 1)));
  const file = store.get(zone, path);
  if (file === null) throw new StorageError("no_file", "the source of the copy is not there");
  const etag = etagOf(file);
  const match = fields.get("x-amz-copy-source-if-match");
  const noneMatch = fields.get("x-amz-copy-source-if-none-match");
  if ((match !== null && match !== etag) || (noneMatch !== null && noneMatch === etag))
    throw new StorageError("precondition", "the source of the copy is another one");
  return { zone, path, file };
}

/** GetObject and HeadObject. */
export async function getObject({ asked, zone, path, store }: S3Call): Promise<StorageResponse> {
  const { method, fields } = asked.request;
  const file = store.get(zone, path);
  if (file === null) throw new StorageError("no_file", "The specified key does not exist.");
  const outcome = fileAnswer(method, fields, file);
  switch (outcome.kind) {
    case "not-modified":
      return { status: 304, fields: outcome.fields, body: null };
    case "precondition-failed":
      throw new StorageError("precondition", "At least one of the preconditions you specified did not hold.");
    case "unsatisfiable":
      return xmlAnswer(
        416,
        "Error",
        [
          ["Code", "InvalidRange"],
          ["Message", "The requested range is not satisfiable"],
          ["ActualObjectSize", file.bytes],
        ],
        { "content-range": outcome.contentRange },
      );
    case "file": {
      overridden(asked, outcome.fields);
      // Of the whole file: a client would hold it against a part.
      if (outcome.status === 200 && fields.get("x-amz-checksum-mode")?.toUpperCase() === "ENABLED")
        for (const [name, value] of Object.entries(checksumFields(file))) outcome.fields.set(name, value);
      const body = method === "HEAD" ? null : await store.read(file, outcome.start, outcome.end);
      return { status: outcome.status, fields: outcome.fields, body };
    }
  }
}

/** DeleteObject: also of what is not there, as S3 has it. */
export function deleteObject({ zone, path, who, store }: S3Call): StorageResponse {
  store.delete(zone, [path], who);
  return answer(204, null, "");
}

/** Fields that the query sets in the answer (response-content-type and its like); it is signed. */
function overridden(asked: Asked, fields: { set(name: string, value: string): void }): void {
  for (const name of [
    "content-type",
    "content-disposition",
    "content-encoding",
    "content-language",
    "cache-control",
    "expires",
  ]) {
    const value = asked.parameters.get(`response-${name}`);
    if (value !== null && /^[\x20-\x7e]{0,1000}$/.test(value)) fields.set(name, value);
  }
}

/** If-Match and If-None-Match of a write, asked of what is there when the change is made. */
export function writeCondition({ request }: Asked): ((now: ZoneFile | null) => void) | undefined {
  const match = request.fields.get("if-match");
  const noneMatch = request.fields.get("if-none-match");
  if (match === null && noneMatch === null) return undefined;
  if (noneMatch !== null && noneMatch !== "*")
    throw new StorageError("not_implemented", "If-None-Match of a write has to be *");
  return (now) => {
    const holds =
      (noneMatch === null || now === null) &&
      (match === null || (now !== null && etagOf(now) === quoted(match)));
    if (!holds)
      throw new StorageError("precondition", "At least one of the preconditions you specified did not hold.");
  };
}

function quoted(etag: string): string {
  return etag.startsWith('"') ? etag : `"${etag}"`;
}

/** The checksums of a file as fields. */
export function checksumFields({ checksums }: Pick<ZoneFile, "checksums">): Record<string, string> {
  return Object.fromEntries(
    Object.entries(checksums).map(([name, value]) => [`x-amz-checksum-${name}`, value]),
  );
}

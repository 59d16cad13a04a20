/** Uploads in parts: each part is content of its own, and completing puts them together into one file. */
import { createHash } from "node:crypto";
import type { BodyReader } from "../../http/body.ts";
import { ASSEMBLED_BYTES_MAX, FILE_BYTES_MAX, PART_BYTES_MIN, PARTS_MAX } from "../limits.ts";
import { answer, etagOf, type StorageResponse } from "../message.ts";
import { StorageError } from "../storage-error.ts";
import type { PartUpload, UploadedPart, Zone, ZoneFile, ZoneStore } from "../zone-store.ts";
import type { S3Call } from "./call.ts";
import { announcedChecksums, takeBody } from "./incoming.ts";
import { keptFields, sentType } from "./kept-fields.ts";
import { checksumFields, copySource, writeCondition } from "./objects.ts";
import { children, childText, readXml, xmlAnswer } from "./xml.ts";

/** CreateMultipartUpload. */
export function createUpload({ asked, zone, path, store }: S3Call): StorageResponse {
  const { fields } = asked.request;
  if (path.endsWith("/")) throw new StorageError("bad_path", "a folder has no content");
  const upload = store.beginUpload(zone, path, sentType(fields), keptFields(fields));
  return xmlAnswer(200, "InitiateMultipartUploadResult", [
    ["Bucket", zone.name],
    ["Key", path],
    ["UploadId", upload.id],
  ]);
}

/** UploadPart and UploadPartCopy. */
export async function putPart(call: S3Call): Promise<StorageResponse> {
  const { asked, zone, path, store, signature } = call;
  const upload = store.upload(zone, path, asked.parameters.get("uploadId") ?? "");
  const number = Number(asked.parameters.get("partNumber"));
  if (!Number.isInteger(number) || number < 1 || number > PARTS_MAX)
    throw new StorageError("bad_request", `partNumber has to be 1 to ${PARTS_MAX}`);
  const isCopy = asked.request.fields.has("x-amz-copy-source");
  const taken = isCopy
    ? await takeCopy(call)
    : await takeBody(asked.request, signature, store, FILE_BYTES_MAX);
  const etag = Buffer.from(taken.checksums.md5 ?? "", "base64").toString("hex");
  store.addPart(upload, { number, hash: taken.hash, bytes: taken.bytes, etag });
  if (isCopy)
    return xmlAnswer(200, "CopyPartResult", [
      ["LastModified", new Date(upload.startedMs).toISOString()],
      ["ETag", `"${etag}"`],
    ]);
  const { md5: _, ...checksums } = taken.checksums;
  return answer(200, null, "", { etag: `"${etag}"`, ...checksumFields({ checksums }) });
}

async function takeCopy(call: S3Call) {
  const { file } = copySource(call);
  const range = call.asked.request.fields.get("x-amz-copy-source-range");
  const match = range === null ? null : /^bytes=(\d{1,15})-(\d{1,15})$/.exec(range);
  const [start, end] = match === null ? [0, file.bytes] : [Number(match[1]), Number(match[2]) + 1];
  if ((range !== null && match === null) || start >= end || end > file.bytes)
    if (file.bytes > 0)
      throw new StorageError("bad_request", "x-amz-copy-source-range is no range of the source");
  const body = await call.store.read(file, start, end);
  return await call.store.take(body, { bytesMax: FILE_BYTES_MAX, bytes: end - start, checksums: ["md5"] });
}

/** CompleteMultipartUpload. */
export async function completeUpload({
  asked,
  zone,
  path,
  who,
  store,
  signature,
}: S3Call): Promise<StorageResponse> {
  const wanted = children(await readXml(asked.request, signature, "CompleteMultipartUpload"), "Part").map(
    listed,
  );
  const etag = etagOfParts(wanted);
  const done = store.get(zone, path);
  let upload: PartUpload;
  try {
    upload = store.upload(zone, path, asked.parameters.get("uploadId") ?? "");
  } catch (error) {
    // Sent again, since the answer was lost: these very parts are the file already.
    if (error instanceof StorageError && error.code === "no_upload" && done?.etag === etag)
      return completed(zone, done);
    throw error;
  }
  const condition = writeCondition(asked);
  const told = announcedChecksums((name) => asked.request.fields.get(name));
  // A checksum of checksums has a number of parts behind it and is not of the file.
  const parts = chosen(wanted, store.parts(upload));
  const bytes = parts.reduce((sum, part) => sum + part.bytes, 0);
  if (bytes > ASSEMBLED_BYTES_MAX)
    throw new StorageError(
      "too_large",
      `the parts have ${bytes} bytes; at most ${ASSEMBLED_BYTES_MAX} are allowed`,
    );
  const taken = await store.take(inOrder(parts, store), {
    bytesMax: ASSEMBLED_BYTES_MAX,
    bytes,
    checksums: (Object.keys(told) as (keyof typeof told)[]).filter((name) => name !== "sha256"),
    expected: () => told,
  });
  const file = store.put(
    zone,
    path,
    {
      hash: taken.hash,
      bytes: taken.bytes,
      type: upload.type,
      etag,
      fields: upload.fields,
      checksums: told,
    },
    who,
    (now) => {
      // It may have been given up while its parts were put together; who was told so must not find the file.
      // The same request, sent twice, may have made it meanwhile.
      if (now?.etag !== etag) store.upload(zone, path, upload.id);
      condition?.(now);
    },
  );
  store.endUpload(upload);
  return completed(zone, file);
}

function completed(zone: Zone, file: ZoneFile): StorageResponse {
  return xmlAnswer(200, "CompleteMultipartUploadResult", [
    ["Location", `/${zone.name}/${file.path}`],
    ["Bucket", zone.name],
    ["Key", file.path],
    ["ETag", etagOf(file)],
  ]);
}

/** A part as it is listed. */
interface ListedPart {
  readonly number: number;
  /** MD5 in hexadecimal, if it is one. */
  readonly etag: string;
}

function listed(one: unknown): ListedPart {
  return {
    number: Number(childText(one, "PartNumber")),
    etag: (childText(one, "ETag") ?? "").replaceAll('"', ""),
  };
}

/** The entity tag of a file of these parts, as S3 makes it. */
function etagOfParts(parts: readonly ListedPart[]): string {
  const md5 = createHash("md5");
  for (const { etag } of parts) md5.update(Buffer.from(etag, "hex"));
  return `${md5.digest("hex")}-${parts.length}`;
}

/** The parts that are listed, as they were uploaded. Throws a StorageError. */
function chosen(wanted: readonly ListedPart[], uploaded: readonly UploadedPart[]): UploadedPart[] {
  if (wanted.length === 0 || wanted.length > PARTS_MAX)
    throw new StorageError("bad_request", `1 to ${PARTS_MAX} parts have to be listed`);
  const known = new Map(uploaded.map((part) => [part.number, part]));
  let before = 0;
  return wanted.map(({ number, etag }, index) => {
    const part = known.get(number);
    if (part === undefined || part.etag !== etag)
      throw new StorageError(
        "bad_part",
        `part ${String(number).slice(0, 20)} was not uploaded, or is another one`,
      );
    if (number <= before) throw new StorageError("bad_part", "the parts are not listed in their order");
    if (index < wanted.length - 1 && part.bytes < PART_BYTES_MIN)
      throw new StorageError(
        "part_too_small",
        `part ${number} has less than ${PART_BYTES_MIN} bytes and is not the last one`,
      );
    before = number;
    return part;
  });
}

function inOrder(parts: readonly UploadedPart[], store: ZoneStore): BodyReader {
  let index = 0;
  let current: BodyReader | null = null;
  return {
    async read() {
      for (;;) {
        if (current === null) {
          const part = parts[index++];
          if (part === undefined) return null;
          current = await store.read(part, 0, part.bytes);
        }
        const piece = await current.read();
        if (piece !== null) return piece;
        current = null;
      }
    },
    cancel() {
      index = parts.length;
      current?.cancel();
    },
  };
}

/** AbortMultipartUpload. */
export function abortUpload({ asked, zone, path, store }: S3Call): StorageResponse {
  store.endUpload(store.upload(zone, path, asked.parameters.get("uploadId") ?? ""));
  return answer(204, null, "");
}

/** ListParts. */
export function listParts({ asked, zone, path, store }: S3Call): StorageResponse {
  const upload = store.upload(zone, path, asked.parameters.get("uploadId") ?? "");
  const after = Number(asked.parameters.get("part-number-marker") ?? 0);
  const parts = store.parts(upload).filter(({ number }) => number > after);
  const shown = parts.slice(0, 1_000);
  return xmlAnswer(200, "ListPartsResult", [
    ["Bucket", zone.name],
    ["Key", path],
    ["UploadId", upload.id],
    ["MaxParts", 1_000],
    ["IsTruncated", shown.length < parts.length],
    ...(shown.length < parts.length ? [["NextPartNumberMarker", shown.at(-1)?.number ?? 0] as const] : []),
    ...shown.map(
      (part) =>
        [
          "Part",
          [
            ["PartNumber", part.number],
            ["LastModified", new Date(part.uploadedMs).toISOString()],
            ["ETag", `"${part.etag}"`],
            ["Size", part.bytes],
          ],
        ] as const,
    ),
  ]);
}

/** ListMultipartUploads: all of them, there are never many. */
export function listUploads({ asked, zone, store }: S3Call): StorageResponse {
  const prefix = asked.parameters.get("prefix") ?? "";
  return xmlAnswer(200, "ListMultipartUploadsResult", [
    ["Bucket", zone.name],
    ["Prefix", prefix],
    ["MaxUploads", 1_000],
    ["IsTruncated", false],
    ...store.uploads(zone, prefix).map(
      (upload) =>
        [
          "Upload",
          [
            ["Key", upload.path],
            ["UploadId", upload.id],
            ["Initiated", new Date(upload.startedMs).toISOString()],
          ],
        ] as const,
    ),
  ]);
}

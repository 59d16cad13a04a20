/** Buckets of the S3 API, which are zones: listing them and what is in them, deleting many files. */
import { uriEncode } from "../../http/sigv4/sign.ts";
import { DELETE_MAX, LIST_PAGE_MAX } from "../limits.ts";
import { etagOf, type StorageResponse } from "../message.ts";
import { StorageError } from "../storage-error.ts";
import { checkPath } from "../zone-path.ts";
import type { Principal, ZoneStore } from "../zone-store.ts";
import type { S3Call } from "./call.ts";
import { children, childText, readXml, xmlAnswer } from "./xml.ts";

/** ListBuckets. */
export function listBuckets(who: Principal, store: ZoneStore): StorageResponse {
  return xmlAnswer(200, "ListAllMyBucketsResult", [
    [
      "Owner",
      [
        ["ID", who.id],
        ["DisplayName", who.name],
      ],
    ],
    [
      "Buckets",
      store.zones(who).map(
        (zone) =>
          [
            "Bucket",
            [
              ["Name", zone.name],
              ["CreationDate", new Date(zone.createdMs).toISOString()],
            ],
          ] as const,
      ),
    ],
  ]);
}

/** ListObjects and ListObjectsV2. */
export function listObjects({ asked, zone, store }: S3Call): StorageResponse {
  const { parameters } = asked;
  const isV2 = parameters.get("list-type") === "2";
  const prefix = parameters.get("prefix") ?? "";
  const delimiter = parameters.get("delimiter") ?? "";
  const maxKeys = numberOf(parameters.get("max-keys"), LIST_PAGE_MAX);
  const limit = Math.min(maxKeys, LIST_PAGE_MAX);
  const token = parameters.get("continuation-token");
  const startAfter = parameters.get("start-after") ?? "";
  const marker = parameters.get("marker") ?? "";
  const after = isV2 ? (token === null ? startAfter : fromToken(token)) : marker;
  const encode =
    parameters.get("encoding-type") === "url" ? (text: string) => uriEncode(text) : (text: string) => text;
  const page =
    limit === 0
      ? { files: [], folders: [], next: null }
      : store.list(zone, { prefix, after, delimiter, limit });
  return xmlAnswer(200, "ListBucketResult", [
    ["Name", zone.name],
    ["Prefix", encode(prefix)],
    ...(delimiter === "" ? [] : [["Delimiter", encode(delimiter)] as const]),
    ["MaxKeys", maxKeys],
    ...(parameters.get("encoding-type") === "url" ? [["EncodingType", "url"] as const] : []),
    ["IsTruncated", page.next !== null],
    ...(isV2
      ? ([
          ["KeyCount", page.files.length + page.folders.length],
          ...(token === null ? [] : [["ContinuationToken", token] as const]),
          ...(page.next === null ? [] : [["NextContinuationToken", toToken(page.next)] as const]),
          ...(startAfter === "" ? [] : [["StartAfter", encode(startAfter)] as const]),
        ] as const)
      : ([
          ["Marker", encode(marker)],
          ...(page.next === null ? [] : [["NextMarker", encode(page.next)] as const]),
        ] as const)),
    ...page.files.map(
      (file) =>
        [
          "Contents",
          [
            ["Key", encode(file.path)],
            ["LastModified", new Date(file.modifiedMs).toISOString()],
            ["ETag", etagOf(file)],
            ["Size", file.bytes],
            ["StorageClass", "STANDARD"],
          ],
        ] as const,
    ),
    ...page.folders.map((folder) => ["CommonPrefixes", [["Prefix", encode(folder)]]] as const),
  ]);
}

/** DeleteObjects. */
export async function deleteObjects({
  asked,
  zone,
  who,
  store,
  signature,
}: S3Call): Promise<StorageResponse> {
  const wanted = await readXml(asked.request, signature, "Delete");
  const keys = children(wanted, "Object").map((one) => childText(one, "Key"));
  if (keys.length === 0 || keys.length > DELETE_MAX)
    throw new StorageError("bad_request", `1 to ${DELETE_MAX} files have to be listed`);
  const good: string[] = [];
  const bad: [string, string][] = [];
  for (const key of keys) {
    try {
      good.push(checkPath(key ?? ""));
    } catch (error) {
      bad.push([key ?? "", error instanceof Error ? error.message : ""]);
    }
  }
  store.delete(zone, good, who);
  const quiet = childText(wanted, "Quiet") === "true";
  return xmlAnswer(200, "DeleteResult", [
    ...(quiet ? [] : good.map((key) => ["Deleted", [["Key", key]]] as const)),
    ...bad.map(
      ([key, message]) =>
        [
          "Error",
          [
            ["Key", key],
            ["Code", "InvalidArgument"],
            ["Message", message],
          ],
        ] as const,
    ),
  ]);
}

function numberOf(text: string | null, usual: number): number {
  if (text === null || text === "") return usual;
  if (!/^\d{1,9}$/.test(text)) throw new StorageError("bad_request", "max-keys is no number");
  return Number(text);
}

function toToken(next: string): string {
  return Buffer.from(next).toString("base64url");
}

function fromToken(token: string): string {
  if (!/^[\w-]{1,4000}$/.test(token)) throw new StorageError("bad_request", "the continuation token is none");
  return Buffer.from(token, "base64url").toString("utf8");
}

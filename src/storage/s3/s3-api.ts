/** The S3 API: which operation a request asks for, by its method and its query. */
import type { VerifiedSignature } from "../../http/sigv4/verify.ts";
import { type Asked, answer, type StorageResponse } from "../message.ts";
import { StorageError } from "../storage-error.ts";
import { checkPath, decodePath } from "../zone-path.ts";
import type { Principal, ZoneStore } from "../zone-store.ts";
import { deleteObjects, listBuckets, listObjects } from "./buckets.ts";
import type { S3Call } from "./call.ts";
import { abortUpload, completeUpload, createUpload, listParts, listUploads, putPart } from "./multipart.ts";
import { copyObject, deleteObject, getObject, putObject } from "./objects.ts";
import { xmlAnswer } from "./xml.ts";

/** Parts of S3 that this is not: asking for one is answered, never taken for another operation. */
const UNKNOWN = [
  "accelerate",
  "acl",
  "analytics",
  "attributes",
  "cors",
  "encryption",
  "intelligent-tiering",
  "inventory",
  "legal-hold",
  "lifecycle",
  "logging",
  "metrics",
  "notification",
  "object-lock",
  "ownershipControls",
  "policy",
  "policyStatus",
  "publicAccessBlock",
  "replication",
  "requestPayment",
  "restore",
  "retention",
  "select",
  "tagging",
  "torrent",
  "versionId",
  "versions",
  "website",
];

/** Where bucket and key stand. */
export interface S3Place {
  readonly bucket: string;
  /** Decoded; empty for the bucket itself. */
  readonly key: string;
}

/** Bucket and key of a request: of the path, or of the host below one of `domains`. Throws a StorageError. */
export function s3Place(asked: Asked, domains: readonly string[]): S3Place {
  const host = (asked.request.fields.get("host") ?? "").toLowerCase().replace(/:\d+$/, "");
  const domain = domains.find((one) => host.endsWith(`.${one}`));
  const path = asked.path.replaceAll("+", "%2B").slice(1);
  if (domain !== undefined) return { bucket: host.slice(0, -domain.length - 1), key: decodePath(path) };
  const slash = path.indexOf("/");
  if (slash < 0) return { bucket: decodePath(path), key: "" };
  return { bucket: decodePath(path.slice(0, slash)), key: decodePath(path.slice(slash + 1)) };
}

/** Answers a request whose signature is good. Rejects with a StorageError. */
export async function answerS3(
  asked: Asked,
  place: S3Place,
  around: {
    readonly who: Principal;
    readonly store: ZoneStore;
    readonly signature: VerifiedSignature;
    readonly find: S3Call["find"];
  },
): Promise<StorageResponse> {
  const { request, parameters } = asked;
  const { method } = request;
  const { who, store, find } = around;
  const unknown = UNKNOWN.find((name) => parameters.has(name));
  if (unknown !== undefined)
    throw new StorageError("not_implemented", `"${unknown}" is not a part of this storage`);
  if (place.bucket === "") {
    if (method === "GET") return listBuckets(who, store);
    throw new StorageError("not_implemented", "of all buckets together only the list is known");
  }
  const reads = method === "GET" || method === "HEAD";
  const zone = find(place.bucket, who, reads ? "read" : "write");
  const call: S3Call = { ...around, asked, zone, path: place.key === "" ? "" : checkPath(place.key) };
  return place.key === "" ? await bucketOperation(call) : await objectOperation(call);
}

async function bucketOperation(call: S3Call): Promise<StorageResponse> {
  const { asked, zone } = call;
  const { parameters, request } = asked;
  switch (request.method) {
    case "HEAD":
      return answer(200, null, "", { "x-amz-bucket-region": "us-east-1" });
    case "GET":
      if (parameters.has("location")) return xmlAnswer(200, "LocationConstraint", "");
      if (parameters.has("versioning")) return xmlAnswer(200, "VersioningConfiguration", []);
      if (parameters.has("uploads")) return listUploads(call);
      return listObjects(call);
    case "PUT":
      // Clients make sure of their bucket so.
      return answer(200, null, "", { location: `/${zone.name}` });
    case "POST":
      if (parameters.has("delete")) return await deleteObjects(call);
  }
  throw new StorageError("not_implemented", "this is not an operation of buckets here");
}

async function objectOperation(call: S3Call): Promise<StorageResponse> {
  const { asked } = call;
  const { parameters, request } = asked;
  const isUpload = parameters.has("uploadId");
  switch (request.method) {
    case "GET":
      return isUpload ? listParts(call) : await getObject(call);
    case "HEAD":
      return await getObject(call);
    case "PUT":
      if (isUpload) return await putPart(call);
      return request.fields.has("x-amz-copy-source") ? copyObject(call) : await putObject(call);
    case "POST":
      if (parameters.has("uploads")) return createUpload(call);
      if (isUpload) return await completeUpload(call);
      break;
    case "DELETE":
      return isUpload ? abortUpload(call) : deleteObject(call);
  }
  throw new StorageError("not_implemented", "this is not an operation of objects here");
}

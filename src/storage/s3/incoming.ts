/** A body that comes over the S3 API: in its chunks or plain, with all that was announced of it. */
import type { VerifiedSignature } from "../../http/sigv4/verify.ts";
import { CHECKSUMS, type ChecksumName } from "../checksums.ts";
import type { Taken } from "../intake.ts";
import type { StorageRequest } from "../message.ts";
import { StorageError } from "../storage-error.ts";
import type { ZoneStore } from "../zone-store.ts";
import { AwsChunkedBody } from "./aws-chunked.ts";

const PREFIX = "x-amz-checksum-";
const LENGTHS: Readonly<Record<ChecksumName, number>> = {
  crc32: 4,
  crc32c: 4,
  crc64nvme: 8,
  sha1: 20,
  sha256: 32,
  md5: 16,
};

/** Takes the body of a request into the store. Rejects with a StorageError. */
export async function takeBody(
  request: StorageRequest,
  signature: VerifiedSignature,
  store: ZoneStore,
  bytesMax: number,
): Promise<Taken> {
  const { fields } = request;
  const { payload, seed } = signature;
  const told = announcedChecksums((name) => fields.get(name));
  const md5 = fields.get("content-md5");
  if (md5 !== null) told.md5 = checked("md5", md5);
  const trailing = (fields.get("x-amz-trailer") ?? "")
    .split(",")
    .map((name) => name.trim().toLowerCase())
    .filter((name) => name !== "");
  const names = new Set<ChecksumName>([...(Object.keys(told) as ChecksumName[]), "md5"]);
  for (const name of trailing) {
    const checksum = CHECKSUMS.find((one) => name === `${PREFIX}${one}`);
    if (checksum === undefined) throw bad(`the trailer "${name.slice(0, 60)}" is not known`);
    names.add(checksum);
  }
  const length = lengthOf(
    fields.get(payload.kind === "chunks" ? "x-amz-decoded-content-length" : "content-length"),
  );
  const body = request.body();
  const chunked =
    payload.kind === "chunks" && body !== null
      ? new AwsChunkedBody(body, { seed: payload.signed ? seed : null, trailers: payload.trailers })
      : null;
  if (payload.kind === "chunks" && length === null)
    throw bad("a body in chunks needs x-amz-decoded-content-length");
  const taken = await store.take(chunked ?? body, {
    bytesMax,
    bytes: length,
    sha256: payload.kind === "hash" ? payload.hash : null,
    checksums: [...names].filter((name) => name !== "sha256"),
    expected: () => {
      const trailers = chunked?.trailers ?? new Map<string, string>();
      for (const name of trailing) if (!trailers.has(name)) throw bad(`the trailer "${name}" did not come`);
      return { ...told, ...announcedChecksums((name) => trailers.get(name) ?? null) };
    },
  });
  if (!names.has("sha256")) return taken;
  const sha256 = Buffer.from(taken.hash, "hex").toString("base64");
  return { ...taken, checksums: { ...taken.checksums, sha256 } };
}

/** The checksums that were announced in fields (or trailers), beside MD5. */
export function announcedChecksums(
  get: (name: string) => string | null,
): Partial<Record<ChecksumName, string>> {
  const found: Partial<Record<ChecksumName, string>> = {};
  for (const name of CHECKSUMS) {
    const value = name === "md5" ? null : get(`${PREFIX}${name}`);
    if (value !== null) found[name] = checked(name, value);
  }
  return found;
}

function checked(name: ChecksumName, value: string): string {
  const isBase64 = /^[A-Za-z0-9+/]+={0,2}$/.test(value) && value.length % 4 === 0;
  if (!isBase64 || Buffer.from(value, "base64").byteLength !== LENGTHS[name])
    throw bad(`the announced ${name.toUpperCase()} is none in Base64`);
  return value;
}

function lengthOf(value: string | null): number | null {
  if (value === null) return null;
  if (!/^\d{1,15}$/.test(value)) throw bad("the announced length is no number");
  return Number(value);
}

function bad(message: string): StorageError {
  return new StorageError("bad_request", message);
}

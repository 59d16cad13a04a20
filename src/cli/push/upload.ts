/** Content on its way to a zone: hashed, asked for, sent, some at a time; what failed on the way is tried again. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { messageOf, ProximaError } from "../../base/errors.ts";
import type { FleetClient } from "../fleet/client.ts";
import { type Io, plainText } from "../io.ts";
import type { LocalFile } from "./scan.ts";

/** Hashes in one question. */
const HASHES_AT_ONCE = 5_000;
const ATTEMPTS_MAX = 6;
const RETRY_MS_MIN = 200;
/** A file that is sent slower than this in all is given up, in bytes a second, with some time for the answer. */
const BYTES_PER_SECOND_MIN = 10_000;
const ANSWER_MS = 60_000;

/** A file with what it holds. */
export interface HashedFile extends LocalFile {
  readonly hash: string;
  readonly bytes: number;
}

/** Runs work on each item, `atOnce` at a time; the first failure ends all. */
export async function each<T>(
  items: readonly T[],
  atOnce: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  let next = 0;
  let failed = false;
  const run = async (): Promise<void> => {
    while (!failed) {
      const item = items[next++];
      if (item === undefined) return;
      try {
        await work(item);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, items.length) }, run));
}

/** Hashes a file as it is now. */
export async function hashed(file: LocalFile): Promise<HashedFile> {
  const hash = createHash("sha256");
  let bytes = 0;
  try {
    for await (const piece of createReadStream(file.file, { highWaterMark: 256 * 1024 })) {
      hash.update(piece as Buffer);
      bytes += (piece as Buffer).byteLength;
    }
  } catch (cause) {
    throw new ProximaError("push_failed", `${plainText(file.file)} can not be read: ${messageOf(cause)}`, {
      source: "node",
      cause,
    });
  }
  return { ...file, hash: hash.digest("hex"), bytes };
}

/** Of these files, one for each content that the zone has not. */
export async function missing(
  client: FleetClient,
  zone: string,
  files: readonly HashedFile[],
): Promise<HashedFile[]> {
  const byHash = new Map(files.map((file) => [file.hash, file]));
  const hashes = [...byHash.keys()];
  const wanted: HashedFile[] = [];
  for (let at = 0; at < hashes.length; at += HASHES_AT_ONCE) {
    const some = hashes.slice(at, at + HASHES_AT_ONCE);
    const answer = await again(() =>
      client.ask({
        method: "POST",
        path: `/v1/zones/${encodeURIComponent(zone)}/missing`,
        body: { hashes: some },
      }),
    );
    for (const hash of Array.isArray(answer.missing) ? answer.missing : []) {
      const file = byHash.get(String(hash));
      if (file !== undefined) wanted.push(file);
    }
  }
  return wanted;
}

/** Sends one file. Rejects with a ProximaError. */
export async function send(
  control: URL,
  zone: string,
  file: HashedFile,
  io: Io,
  signal: AbortSignal,
): Promise<void> {
  await again(async () => {
    const ms = ANSWER_MS + (file.bytes / BYTES_PER_SECOND_MIN) * 1_000;
    let response: Response;
    try {
      response = await fetch(`${control.origin}/v1/zones/${encodeURIComponent(zone)}/content/${file.hash}`, {
        method: "PUT",
        redirect: "manual",
        headers: {
          authorization: `Bearer ${io.env.PROXIMA_CONTROL_TOKEN ?? ""}`,
          "content-type": "application/octet-stream",
        },
        body: file.bytes === 0 ? new Uint8Array(0) : Bun.file(file.file),
        signal: AbortSignal.any([signal, AbortSignal.timeout(ms)]),
      });
    } catch (cause) {
      throw failure(file, messageOf(cause), !signal.aborted, cause);
    }
    const text = await response.text().catch(() => "");
    if (response.status === 204) return;
    const changed = response.status === 400 && /SHA-256|bytes/.test(text);
    const why = changed ? "it has changed since it was hashed" : `${response.status}: ${detailIn(text)}`;
    throw failure(file, why, response.status === 429 || response.status >= 500);
  });
}

/** What fails on the way is done again, after a while. */
export async function again<T>(work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work();
    } catch (error) {
      const isWorthwhile =
        error instanceof ProximaError && (error.retryable || error.code === "control_unreachable");
      if (!isWorthwhile || attempt >= ATTEMPTS_MAX) throw error;
      await Bun.sleep(RETRY_MS_MIN * 2 ** attempt * (0.5 + Math.random() / 2));
    }
  }
}

function failure(file: HashedFile, why: string, retryable: boolean, cause?: unknown): ProximaError {
  return new ProximaError("push_failed", `${plainText(file.path)} was not taken: ${plainText(why)}`, {
    source: "node",
    retryable,
    cause,
  });
}

function detailIn(text: string): string {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null && "detail" in value)
      return String(value.detail).slice(0, 300);
  } catch {
    // Some proxy's page.
  }
  return "no reason given";
}

/** The chain of the fleet's log: the digest of an entry is over that of the one before. */
import { createHash } from "node:crypto";

/** Digest of the log up to an entry: SHA-256, the first 128 bits, in hexadecimal. `text` is the entry's body as JSON. */
export function entryDigest(before: string, sequence: number, acceptedMs: number, text: string): string {
  return createHash("sha256")
    .update(`${before}\n${sequence}\n${acceptedMs}\n${text}`)
    .digest("hex")
    .slice(0, 32);
}

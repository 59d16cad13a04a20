/**
 * What travels on the bus, signed by the control plane: whoever may write to the bus can hold entries back,
 * and can not make one. An entry names the digest of the one before it, so that a reader sees that none is
 * missing and none stands elsewhere. Ed25519 (RFC 8032); the key is learned from the control plane itself.
 */
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
  verify,
} from "node:crypto";
import * as z from "zod";
import { entryDigest } from "../log-digest.ts";
import { HEARD_BYTES_MAX, PIECES_MAX, WHOLE_BYTES_MAX } from "./bus-limits.ts";

const digest = z.string().max(100);
const hash = z.string().regex(/^[0-9a-f]{64}$/);

/** A body that lies in pieces beside the log, compressed (gzip). */
const pieces = z.object({
  count: z.int().min(1).max(PIECES_MAX),
  /** Size when it is put together and expanded. */
  bytes: z.int().min(0).max(WHOLE_BYTES_MAX),
  /** SHA-256 of that. */
  sha256: hash,
});
/** A body in pieces. */
export type Pieces = z.infer<typeof pieces>;

const busEntry = z.object({
  log: z.string().max(100),
  sequence: z.int().min(1),
  acceptedMs: z.number(),
  /** Digest of the entry before. */
  before: digest,
  digest,
  /** The body as JSON; null when it is in pieces. */
  text: z.string().nullable(),
  pieces: pieces.nullable(),
});
/** An entry as it travels. */
export type BusEntry = z.infer<typeof busEntry>;

const busSnapshot = z.object({ log: z.string().max(100), number: z.int().min(1), pieces });
/** Where a snapshot is found. */
export type BusSnapshot = z.infer<typeof busSnapshot>;

const signed = z.object({ message: z.string(), signature: z.string().max(200) });

/** Makes a key pair. `secret` is PEM (PKCS #8), `open` what nodes are told (SPKI, DER, base64). */
export function newLogKey(): { readonly secret: string; readonly open: string } {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  return {
    secret: String(privateKey.export({ type: "pkcs8", format: "pem" })),
    open: publicKey.export({ type: "spki", format: "der" }).toString("base64"),
  };
}

/** The control plane's key. Throws for what is none. */
export function readSecretKey(pem: string): { readonly secret: KeyObject; readonly open: string } {
  const secret = createPrivateKey(pem);
  if (secret.asymmetricKeyType !== "ed25519") throw new Error("it is not an Ed25519 key");
  const open = createPublicKey(secret).export({ type: "spki", format: "der" }).toString("base64");
  return { secret, open };
}

/** A node's copy of the public key. Throws for what is none. */
export function readOpenKey(base64: string): KeyObject {
  const key = createPublicKey({ key: Buffer.from(base64, "base64"), format: "der", type: "spki" });
  if (key.asymmetricKeyType !== "ed25519") throw new Error("it is not an Ed25519 key");
  return key;
}

/** The message of an entry. */
export function signEntry(entry: BusEntry, key: KeyObject): Uint8Array {
  return signMessage("entry", entry, key);
}

/**
 * Reads the message of an entry. Null for what the control plane did not sign, and for a text that is not
 * what the digest says; that of pieces is checked when they are put together.
 */
export function readEntry(message: Uint8Array, key: KeyObject): BusEntry | null {
  const entry = readMessage("entry", message, key, busEntry);
  if (entry === null || (entry.text === null) === (entry.pieces === null)) return null;
  return entry.text === null || isBody(entry, entry.text) ? entry : null;
}

/** Identity of the log that a message says it is of, whoever wrote it; null for what is no entry. */
export function claimedLog(message: Uint8Array): string | null {
  try {
    const { message: text } = signed.parse(JSON.parse(Buffer.from(message).toString("utf8")));
    return busEntry.parse(JSON.parse(text)).log;
  } catch {
    return null;
  }
}

/** Is this the body of the entry? */
export function isBody({ before, sequence, acceptedMs, digest: made }: BusEntry, text: string): boolean {
  return entryDigest(before, sequence, acceptedMs, text) === made;
}

/** The message that names a snapshot. */
export function signSnapshot(snapshot: BusSnapshot, key: KeyObject): Uint8Array {
  return signMessage("snapshot", snapshot, key);
}

/** Reads it; null for what the control plane did not sign. */
export function readSnapshot(message: Uint8Array, key: KeyObject): BusSnapshot | null {
  return readMessage("snapshot", message, key, busSnapshot);
}

/** SHA-256 in hexadecimal. */
export function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

function signMessage(kind: string, value: object, key: KeyObject): Uint8Array {
  const message = JSON.stringify(value);
  const signature = sign(null, signedBytes(kind, message), key).toString("base64");
  return Buffer.from(JSON.stringify({ message, signature } satisfies z.infer<typeof signed>));
}

function readMessage<T>(kind: string, bytes: Uint8Array, key: KeyObject, schema: z.ZodType<T>): T | null {
  if (bytes.byteLength > HEARD_BYTES_MAX) return null;
  try {
    const { message, signature } = signed.parse(JSON.parse(Buffer.from(bytes).toString("utf8")));
    // First who said it, then what.
    if (!verify(null, signedBytes(kind, message), key, Buffer.from(signature, "base64"))) return null;
    return schema.parse(JSON.parse(message));
  } catch {
    return null;
  }
}

/** What one kind of message says is nothing in the other. */
function signedBytes(kind: string, message: string): Uint8Array {
  return Buffer.from(`proxima bus ${kind} 1\n${message}`);
}

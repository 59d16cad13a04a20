/**
 * Signatures of webhooks. Ours are as Standard Webhooks says (standardwebhooks.com, specification 1.0.0):
 * HMAC-SHA256 over `id.timestamp.body`. Receivers refuse old timestamps and take each id once, so a request
 * that somebody recorded is of no use to him.
 */
import { createHash, createHmac, randomBytes, timingSafeEqual } from "node:crypto";

/** Of a key that is to be worth its name, in bytes. */
export const WEBHOOK_KEY_BYTES_MIN = 16;
/** How far a timestamp may be from now, in seconds. */
export const WEBHOOK_TOLERANCE_SECONDS = 300;
/** Signatures in one field that are looked at. */
const SIGNATURES_MAX = 10;
const FIELD_CHARS_MAX = 2_000;

/** Ways to sign a message to a hook. "hub" has no timestamp: what somebody recorded he may send again. */
export const SIGNATURE_KINDS = ["standard", "proxima", "hub"] as const;
/** One of them. */
export type SignatureKind = (typeof SIGNATURE_KINDS)[number];

/** A new secret: `whsec_` and 256 random bits in base 64. */
export function newWebhookSecret(): string {
  return `whsec_${randomBytes(32).toString("base64")}`;
}

/** The key of a secret: `whsec_` and base 64, or any text as it is. */
export function webhookKey(secret: string): Buffer {
  return secret.startsWith("whsec_")
    ? Buffer.from(secret.slice("whsec_".length), "base64")
    : Buffer.from(secret, "utf8");
}

/** The fields of a signed message. The timestamp is that of this attempt, the id of the message. */
export function signedFields(key: Buffer, id: string, nowMs: number, body: string): Record<string, string> {
  const timestamp = String(Math.floor(nowMs / 1_000));
  return {
    "webhook-id": id,
    "webhook-timestamp": timestamp,
    "webhook-signature": `v1,${createHmac("sha256", key).update(`${id}.${timestamp}.${body}`).digest("base64")}`,
  };
}

/** What a signature came to. `message` is what a message is known by; null when nothing tells it from another one. */
export type SignatureCheck =
  | { readonly ok: true; readonly kind: SignatureKind; readonly message: string | null }
  | { readonly ok: false; readonly reason: string };

/** Checks the signature of a message to a hook; any of the secrets is good. In a time that tells nothing of them. */
export function checkSignature(
  fields: Headers,
  body: Uint8Array,
  secrets: readonly string[],
  nowMs: number,
  kinds: readonly SignatureKind[],
): SignatureCheck {
  const field = (name: string): string => (fields.get(name) ?? "").slice(0, FIELD_CHARS_MAX);
  const isTimely = (text: string): boolean =>
    /^\d{1,12}$/.test(text) && Math.abs(Number(text) - nowMs / 1_000) <= WEBHOOK_TOLERANCE_SECONDS;
  const late = (name: string): SignatureCheck => ({
    ok: false,
    reason: `${name} is not within ${WEBHOOK_TOLERANCE_SECONDS} seconds of the time here`,
  });
  const wrong = (name: string): SignatureCheck => ({ ok: false, reason: `${name} does not fit the body` });
  const digests = (keyOf: (secret: string) => Buffer, prefix: string): Buffer[] =>
    secrets.map((secret) => createHmac("sha256", keyOf(secret)).update(prefix).update(body).digest());

  if (kinds.includes("standard") && fields.has("webhook-signature")) {
    const [id, timestamp] = [field("webhook-id"), field("webhook-timestamp")];
    if (id === "" || !isTimely(timestamp)) return late("webhook-timestamp");
    const given = field("webhook-signature")
      .split(" ", SIGNATURES_MAX)
      .map((one) => (one.startsWith("v1,") ? Buffer.from(one.slice(3), "base64") : Buffer.alloc(0)));
    if (!isAnySame(given, digests(webhookKey, `${id}.${timestamp}.`))) return wrong("webhook-signature");
    return { ok: true, kind: "standard", message: `standard ${digestOf(id)}` };
  }
  if (kinds.includes("proxima") && fields.has("proxima-signature")) {
    const [timestamp, signature] = [field("proxima-timestamp"), field("proxima-signature")];
    if (!isTimely(timestamp)) return late("proxima-timestamp");
    const given = hexOf(signature, "v1=");
    if (!isAnySame([given], digests(webhookKey, `${timestamp}.`))) return wrong("proxima-signature");
    return { ok: true, kind: "proxima", message: `proxima ${given.toString("hex")}` };
  }
  if (kinds.includes("hub") && fields.has("x-hub-signature-256")) {
    const given = hexOf(field("x-hub-signature-256"), "sha256=");
    // There the secret is a text, whatever it looks like.
    const known = digests((secret) => Buffer.from(secret, "utf8"), "");
    if (!isAnySame([given], known)) return wrong("x-hub-signature-256");
    const delivery = field("x-github-delivery");
    return {
      ok: true,
      kind: "hub",
      message: delivery === "" ? null : `hub ${digestOf(`${delivery} ${given.toString("hex")}`)}`,
    };
  }
  const names = { standard: "webhook-signature", proxima: "proxima-signature", hub: "x-hub-signature-256" };
  return { ok: false, reason: `has none of the fields ${kinds.map((kind) => names[kind]).join(", ")}` };
}

function isAnySame(given: readonly Buffer[], known: readonly Buffer[]): boolean {
  let found = false;
  for (const one of given)
    for (const other of known)
      if (one.byteLength === other.byteLength && timingSafeEqual(one, other)) found = true;
  return found;
}

function hexOf(text: string, prefix: string): Buffer {
  return text.startsWith(prefix) ? Buffer.from(text.slice(prefix.length), "hex") : Buffer.alloc(0);
}

function digestOf(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

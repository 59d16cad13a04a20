/**
 * Ids of a site in the shapes of the vendors, made of its own: the same for ever, with nothing to keep.
 * They name a site and protect nothing.
 */
import { createHash } from "node:crypto";

/** Ids of one site. */
export interface SiteIds {
  /** 32 hex digits: a zone. */
  readonly cloudflare: string;
  /** 22 letters and digits: a service. */
  readonly fastly: string;
  /** E and 13 capitals and digits: a distribution. */
  readonly cloudfront: string;
  /** A number: a pull zone, a CP code. */
  readonly number: string;
}

const CAPITALS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
const LETTERS = `${CAPITALS}abcdefghijklmnopqrstuvwxyz`;

/** The ids of a site. */
export function siteIds(site: string): SiteIds {
  const hash = createHash("sha256").update(`proxima site ${site}`).digest();
  const pick = (alphabet: string, from: number, count: number) =>
    [...hash.subarray(from, from + count)].map((byte) => alphabet[byte % alphabet.length]).join("");
  return {
    cloudflare: hash.toString("hex", 0, 16),
    fastly: pick(LETTERS, 0, 22),
    cloudfront: `E${pick(CAPITALS, 10, 13)}`,
    // Without the sign's bit, and never 0.
    number: String(hash.readUInt32BE(24) & 0x7fff_ffff || 1),
  };
}

/** `count` characters of capitals and digits of random bytes. */
export function capitals(bytes: Uint8Array): string {
  return [...bytes].map((byte) => CAPITALS[byte % CAPITALS.length]).join("");
}

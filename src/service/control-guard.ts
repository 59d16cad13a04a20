/**
 * Who may ask the control listener. Browsers are the danger on loopback: a page can make them send
 * requests to 127.0.0.1, and a DNS name can be pointed there (DNS rebinding). So the Host must be a
 * name that is ours, a foreign Origin or Sec-Fetch-Site is refused, and writes need a content type
 * that a form can not send. Pure functions of header fields.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { isIP } from "node:net";

/** Where the listener is and by which names it may be addressed. */
export interface ControlIdentity {
  readonly scheme: "http" | "https";
  /** The address as given; empty, "0.0.0.0" and "::" mean every address of the machine. */
  readonly hostname: string;
  /** The port really bound. */
  readonly port: number;
  /** Further host names that operators use. */
  readonly names: readonly string[];
  /** SHA-256 of the token; null when none is needed. */
  readonly tokenHash: Buffer | null;
}

/** Why a request is refused. */
export interface Refusal {
  readonly status: 401 | 403 | 415 | 421;
  readonly title: string;
  readonly detail: string;
}

const FIELD_LENGTH_MAX = 4_096;
const LOOPBACK_NAMES: readonly string[] = ["localhost", "127.0.0.1", "::1"];

/** True for an address that only this machine can reach. */
export function isLoopback(hostname: string): boolean {
  if (hostname.toLowerCase() === "localhost" || hostname === "::1") return true;
  const plain = hostname.toLowerCase().startsWith("::ffff:") ? hostname.slice(7) : hostname;
  return isIP(plain) === 4 && plain.startsWith("127.");
}

/** The hash a token is kept and compared as. */
export function hashToken(token: string): Buffer {
  return createHash("sha256").update(token).digest();
}

/**
 * Checks a request's header fields; null when it may go on. The token is checked by `refuseToken`. `jsonOnly`
 * is for what might be let in without a credential: where one is always wanted, in a field that no page can
 * send to another origin unasked, what the body is says nothing about who sends it.
 */
export function refuseForeign(
  method: string,
  fields: Headers,
  identity: ControlIdentity,
  jsonOnly = true,
): Refusal | null {
  const host = fields.get("host");
  if (host === null || !isOwnAuthority(host, identity)) {
    return {
      status: 421,
      title: "Misdirected Request",
      detail: `the Host field names another host; use ${identity.scheme}://localhost:${identity.port} or the address that the node listens on`,
    };
  }
  const origin = fields.get("origin");
  if (origin !== null && !isOwnOrigin(origin, identity)) {
    return { status: 403, title: "Forbidden", detail: "the request comes from a page of another origin" };
  }
  const site = fields.get("sec-fetch-site");
  if (site !== null && site !== "none" && site !== "same-origin") {
    return { status: 403, title: "Forbidden", detail: "the request comes from a page of another site" };
  }
  if (jsonOnly && method !== "GET" && method !== "HEAD" && method !== "OPTIONS") {
    const type = (fields.get("content-type") ?? "").split(";", 1)[0]?.trim().toLowerCase();
    if (type !== "application/json") {
      return { status: 415, title: "Unsupported Media Type", detail: "send application/json" };
    }
  }
  return null;
}

/** Checks the bearer token (RFC 6750 section 2.1) in constant time; null when it is right or none is needed. */
export function refuseToken(fields: Headers, identity: ControlIdentity): Refusal | null {
  if (identity.tokenHash === null) return null;
  const match = /^bearer +(\S+)$/i.exec((fields.get("authorization") ?? "").slice(0, FIELD_LENGTH_MAX));
  const given = hashToken(match?.[1] ?? "");
  if (match !== null && timingSafeEqual(given, identity.tokenHash)) return null;
  return { status: 401, title: "Unauthorized", detail: "send Authorization: Bearer and the node's token" };
}

/** Host and port of the Host field (RFC 9112 section 3.2) against our own. */
function isOwnAuthority(authority: string, identity: ControlIdentity): boolean {
  const match = /^(?:\[([0-9a-f:.]+)\]|([^:[\]/?#@\s,]+))(?::(\d{1,5}))?$/i.exec(authority);
  if (match === null || authority.length > FIELD_LENGTH_MAX) return false;
  const [, bracketed, plain = "", portText] = match;
  const defaultPort = identity.scheme === "https" ? 443 : 80;
  if ((portText === undefined ? defaultPort : Number(portText)) !== identity.port) return false;
  const host = (bracketed ?? plain).toLowerCase();
  if (LOOPBACK_NAMES.includes(host)) return true;
  if (host === identity.hostname.toLowerCase()) return true;
  if (identity.names.some((name) => name.toLowerCase() === host)) return true;
  // Listening on every address, any of them may be used: an address can not be rebound, only a name can.
  return isWildcard(identity.hostname) && isIP(host) !== 0;
}

function isOwnOrigin(origin: string, identity: ControlIdentity): boolean {
  const prefix = `${identity.scheme}://`;
  return origin.startsWith(prefix) && isOwnAuthority(origin.slice(prefix.length), identity);
}

function isWildcard(hostname: string): boolean {
  return hostname === "" || hostname === "0.0.0.0" || hostname === "::";
}

/**
 * Host names a viewer may ask for (RFC 9110 section 7.2, RFC 3986 section 3.2.2): one normal form,
 * so that `Example.COM.:80` and `example.com` are one site and one cache key. Only names of DNS
 * and IP literals are taken; percent-encoded and other registered names are refused.
 */
import ipaddr from "ipaddr.js";
import { memoize } from "./memo.ts";

/** Longest Host field value that is read, in characters (RFC 1035 section 2.3.4 and a port). */
export const AUTHORITY_CHARS_MAX = 255;
const LABEL = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/;

/** A normalised authority. */
export interface Authority {
  /** Lower case, no final dot; IPv6 in brackets. */
  readonly hostname: string;
  /** Null when it is the scheme's default. */
  readonly port: number | null;
  /** hostname, and the port when it is not the default. */
  readonly authority: string;
}

/** Reads a Host value; null when it is absent, malformed, too long, or more than one. */
export function parseAuthority(value: string | null, scheme: "http" | "https"): Authority | null {
  if (value === null || value === "" || value.length > AUTHORITY_CHARS_MAX) return null;
  return scheme === "https" ? secure(value) : clear(value);
}

const clear = memoize((value: string) => read(value, 80), 1000, AUTHORITY_CHARS_MAX);
const secure = memoize((value: string) => read(value, 443), 1000, AUTHORITY_CHARS_MAX);

function read(value: string, defaultPort: number): Authority | null {
  const match = /^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{0,5}))?$/.exec(value);
  if (match === null) return null;
  const hostname = hostnameOf((match[1] ?? "").toLowerCase());
  if (hostname === null) return null;
  // An empty port is the default one (RFC 3986 section 6.2.3).
  const port = match[2] === undefined || match[2] === "" ? defaultPort : Number(match[2]);
  if (port < 1 || port > 65_535) return null;
  return Object.freeze({
    hostname,
    port: port === defaultPort ? null : port,
    authority: port === defaultPort ? hostname : `${hostname}:${port}`,
  });
}

function hostnameOf(host: string): string | null {
  if (host.startsWith("[")) {
    const address = host.slice(1, -1);
    return ipaddr.IPv6.isValid(address) ? `[${ipaddr.IPv6.parse(address).toString()}]` : null;
  }
  const name = host.endsWith(".") ? host.slice(0, -1) : host;
  return name.split(".").every((label) => LABEL.test(label)) ? name : null;
}

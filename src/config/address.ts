/** Addresses to listen on, as written in the config and on the command line. */
import { isIP } from "node:net";

/** An address to listen on. */
export interface ListenAddress {
  /** Host name or IP address without brackets; empty means every address of the machine. */
  readonly hostname: string;
  /** 0 lets the system pick a free port. */
  readonly port: number;
}

const NAME_PATTERN = /^(?!-)[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63})*$/i;

/** Reads "host:port", ":port" or "[::1]:port"; null when the text is no such address. */
export function parseListenAddress(text: string): ListenAddress | null {
  const match = /^(?:\[([^\]]*)\]|([^:[\]]*)):(\d{1,5})$/.exec(text);
  if (match === null || text.length > 300) return null;
  const port = Number(match[3]);
  if (port > 65_535) return null;
  const [, bracketed, plain = ""] = match;
  if (bracketed !== undefined) return isIP(bracketed) === 6 ? { hostname: bracketed, port } : null;
  // What looks like an IPv4 address must be one: "1.2.3" and "999.1.1.1" are typing errors, not names.
  if (/^[\d.]+$/.test(plain)) return isIP(plain) === 4 ? { hostname: plain, port } : null;
  return plain === "" || NAME_PATTERN.test(plain) ? { hostname: plain, port } : null;
}

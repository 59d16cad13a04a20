/** Via (RFC 9110 section 7.6.3): the path a message took. */

/** Appends this hop: the protocol the message came with ("1.1", "2", or "HTTP/1.1") and our pseudonym. */
export function appendVia(existing: string | null, protocol: string, by: string): string {
  // The protocol's name may be left out when it is HTTP.
  const hop = `${/^HTTP\//i.test(protocol) ? protocol.slice(5) : protocol} ${by}`;
  return existing === null || existing === "" ? hop : `${existing}, ${hop}`;
}

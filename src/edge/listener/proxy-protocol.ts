/**
 * The PROXY protocol's header, versions 1 and 2 (haproxy's proxy-protocol.txt), as one strict, pure
 * function from bytes to a verdict. A load balancer sends it before anything else on a connection; it
 * names the viewer. Whatever is not exactly such a header is refused: never guessed, never skipped.
 */

/** What the first bytes of a connection say. */
export type ProxyHeader =
  /** So far it may become a header: wait for more bytes. */
  | { readonly kind: "more" }
  /** A whole header of `length` bytes; `address` is null when it names nobody (UNKNOWN, LOCAL). */
  | { readonly kind: "header"; readonly length: number; readonly address: string | null }
  | { readonly kind: "bad"; readonly why: string };

/** Longest header that is read, in bytes. Version 1 has its own limit of 107. */
export const proxyHeaderBytesMax = 4_096;
const v1BytesMax = 107;
const v2Fixed = 16;

const v1Start = new TextEncoder().encode("PROXY ");
const v2Signature = new Uint8Array([0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a]);
const more: ProxyHeader = { kind: "more" };

/** Reads the header at the start of `bytes`. */
export function parseProxyHeader(bytes: Uint8Array): ProxyHeader {
  if (bytes.byteLength === 0) return more;
  if (startsLike(bytes, v1Start)) return bytes.byteLength < v1Start.byteLength ? more : parseV1(bytes);
  if (startsLike(bytes, v2Signature)) return bytes.byteLength < v2Fixed ? more : parseV2(bytes);
  return bad("the connection does not start with a PROXY protocol header");
}

function bad(why: string): ProxyHeader {
  return { kind: "bad", why };
}

/** True when `bytes` and `start` agree as far as both go. */
function startsLike(bytes: Uint8Array, start: Uint8Array): boolean {
  const length = Math.min(bytes.byteLength, start.byteLength);
  for (let i = 0; i < length; i += 1) if (bytes[i] !== start[i]) return false;
  return true;
}

/** Section 2.1: "PROXY" SP protocol SP source SP destination SP port SP port CRLF. */
function parseV1(bytes: Uint8Array): ProxyHeader {
  const cr = bytes.subarray(0, v1BytesMax - 1).indexOf(0x0d);
  if (cr === -1) {
    return bytes.byteLength < v1BytesMax - 1
      ? more
      : bad(`a version 1 header is at most ${v1BytesMax} bytes`);
  }
  if (bytes.byteLength === cr + 1) return more;
  if (bytes[cr + 1] !== 0x0a) return bad("a version 1 header ends with CR LF");
  const line = String.fromCharCode(...bytes.subarray(0, cr));
  const length = cr + 2;
  const parts = line.split(" ");
  if (parts[1] === "UNKNOWN") return { kind: "header", length, address: null };
  const [, protocol, source, destination, sourcePort, destinationPort] = parts;
  if (parts.length !== 6 || (protocol !== "TCP4" && protocol !== "TCP6")) {
    return bad("a version 1 header names TCP4, TCP6 or UNKNOWN, two addresses and two ports");
  }
  const isAddress = protocol === "TCP4" ? isIpv4 : isIpv6;
  if (!isAddress(source ?? "") || !isAddress(destination ?? "")) {
    return bad(`a version 1 header has a malformed ${protocol} address`);
  }
  if (!isPort(sourcePort ?? "") || !isPort(destinationPort ?? "")) {
    return bad("a version 1 header has a malformed port");
  }
  return { kind: "header", length, address: (source ?? "").toLowerCase() };
}

/** Section 2.2: signature, version and command, family, length, addresses, TLVs. */
function parseV2(bytes: Uint8Array): ProxyHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const versionAndCommand = view.getUint8(12);
  const family = view.getUint8(13);
  const payload = view.getUint16(14);
  const length = v2Fixed + payload;
  if (versionAndCommand >> 4 !== 2) return bad("a header with the version 2 signature has another version");
  const command = versionAndCommand & 0x0f;
  if (command > 1) return bad("a version 2 header has an unknown command");
  if (length > proxyHeaderBytesMax) return bad(`a header is at most ${proxyHeaderBytesMax} bytes`);
  if (bytes.byteLength < length) return more;
  // LOCAL: the balancer's own health check; the connection speaks for itself.
  if (command === 0) return { kind: "header", length, address: null };
  switch (family) {
    case 0x00:
      return { kind: "header", length, address: null };
    case 0x11:
      if (payload < 12) return bad("a version 2 header is too short for its addresses");
      return { kind: "header", length, address: ipv4Text(bytes.subarray(16, 20)) };
    case 0x21:
      if (payload < 36) return bad("a version 2 header is too short for its addresses");
      return { kind: "header", length, address: ipv6Text(view, 16) };
    default:
      return bad("a version 2 header has a family other than TCP over IPv4 or IPv6");
  }
}

function isIpv4(text: string): boolean {
  const parts = text.split(".");
  return parts.length === 4 && parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) <= 255);
}

/** RFC 4291 section 2.2, decided by the runtime's URL parser after a check of the characters. */
function isIpv6(text: string): boolean {
  return (
    text.length <= 45 &&
    /^[0-9a-fA-F:.]{2,}$/.test(text) &&
    text.includes(":") &&
    URL.canParse(`http://[${text}]/`)
  );
}

function isPort(text: string): boolean {
  return /^(0|[1-9]\d{0,4})$/.test(text) && Number(text) <= 65_535;
}

function ipv4Text(bytes: Uint8Array): string {
  return Array.from(bytes).join(".");
}

/** RFC 5952; an IPv4-mapped address is told as IPv4, as a listener without a balancer would. */
function ipv6Text(view: DataView, offset: number): string {
  const groups = Array.from({ length: 8 }, (_, i) => view.getUint16(offset + i * 2));
  if (groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff) {
    return ipv4Text(new Uint8Array(view.buffer, view.byteOffset + offset + 12, 4));
  }
  const text = groups.map((group) => group.toString(16)).join(":");
  return new URL(`http://[${text}]/`).hostname.slice(1, -1);
}

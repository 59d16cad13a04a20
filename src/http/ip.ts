/**
 * IP addresses and sets of them. An IPv4-mapped IPv6 address (`::ffff:192.0.2.1`) is the IPv4
 * address it carries: sockets of both kinds report one viewer in two ways.
 */
import ipaddr from "ipaddr.js";
import { ProximaError } from "../base/errors.ts";
import { memoize } from "./memo.ts";

/** An address in canonical text (RFC 5952) and in bytes (4 or 16, network order). */
export interface ParsedIp {
  readonly family: 4 | 6;
  readonly text: string;
  readonly bytes: readonly number[];
}

/** A set of addresses, made of ranges. */
export interface AddressSet {
  /** Whether the address is in the set; false for what is not an address. */
  has(address: string): boolean;
}

/** Longest text of an address that is read, zone included, in characters. */
const ADDRESS_CHARS_MAX = 64;

/** Reads an address; null when it is none. Only dotted IPv4 of four decimal parts; a zone (`%eth0`) is dropped. */
export function parseIp(s: string): ParsedIp | null {
  const address = readAddress(s);
  if (address === null) return null;
  return {
    family: address.kind() === "ipv4" ? 4 : 6,
    text: address.toString(),
    bytes: address.toByteArray(),
  };
}

/** A set of the given addresses and CIDR ranges; throws ProximaError "bad_address" for one that is malformed. */
export function addressSet(cidrs: readonly string[]): AddressSet {
  const ranges = cidrs.map(readRange);
  const ipv4 = ranges.filter((range): range is [ipaddr.IPv4, number] => range[0].kind() === "ipv4");
  const ipv6 = ranges.filter((range): range is [ipaddr.IPv6, number] => range[0].kind() === "ipv6");
  const answer = (text: string) => {
    const address = readAddress(text);
    if (address === null) return false;
    return address instanceof ipaddr.IPv4
      ? ipv4.some((range) => address.match(range))
      : ipv6.some((range) => address.match(range));
  };
  return { has: ranges.length === 0 ? () => false : memoize(answer, 4000, ADDRESS_CHARS_MAX) };
}

/** An address of the public internet: not loopback, private, link-local, multicast or otherwise special. */
export function isPublicIp(text: string): boolean {
  const address = readAddress(text);
  if (address?.range() !== "unicast") return false;
  // Of IPv6 nothing else is global unicast (IANA's registry): not the IPv4-compatible ::/96, nor what is to come.
  return address instanceof ipaddr.IPv4 || ((address.parts[0] ?? 0) & 0xe000) === 0x2000;
}

function readAddress(text: string): ipaddr.IPv4 | ipaddr.IPv6 | null {
  if (text.length > ADDRESS_CHARS_MAX) return null;
  if (!text.includes(":")) {
    return ipaddr.IPv4.isValidFourPartDecimal(text) ? ipaddr.IPv4.parse(text) : null;
  }
  const zone = text.indexOf("%");
  const bare = zone < 0 ? text : text.slice(0, zone);
  if (!ipaddr.IPv6.isValid(bare)) return null;
  const address = ipaddr.IPv6.parse(bare);
  return address.isIPv4MappedAddress() ? address.toIPv4Address() : address;
}

function readRange(cidr: string): [ipaddr.IPv4 | ipaddr.IPv6, number] {
  const slash = cidr.indexOf("/");
  const text = slash < 0 ? cidr : cidr.slice(0, slash);
  const address = readAddress(text);
  const bad = (why: string) =>
    new ProximaError(
      "bad_address",
      `"${cidr}" ${why}; expected an address or a range such as 10.0.0.0/8 or 2001:db8::/32`,
      {
        source: "node",
      },
    );
  if (address === null || text.includes("%")) throw bad("is not an IP address range");
  const mapped = address.kind() === "ipv4" && text.includes(":");
  const bitsMax = address.kind() === "ipv4" ? 32 : 128;
  if (slash < 0) return [address, bitsMax];
  const suffix = cidr.slice(slash + 1);
  if (!/^[0-9]{1,3}$/.test(suffix)) throw bad("has no valid prefix length");
  // A range written with a mapped address counts its prefix in 128 bits.
  const bits = mapped ? Number(suffix) - 96 : Number(suffix);
  if (bits < 0 || bits > bitsMax)
    throw bad(`has a prefix length beyond ${mapped ? "96 to 128" : `0 to ${bitsMax}`}`);
  return [address, bits];
}

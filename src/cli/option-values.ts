/** Kinds of values that options of several commands have. */
import { InvalidArgumentError, Option } from "commander";
import type { ListenAddress } from "../config/address.ts";

const HEADERS_MAX = 50;
const HEADER_CHARS_MAX = 8_192;

/** Fields that belong to the URL, the connection or the message. */
const OWN_FIELDS: ReadonlySet<string> = new Set([
  "host",
  "connection",
  "content-length",
  "transfer-encoding",
  "te",
  "trailer",
  "upgrade",
  "keep-alive",
  "expect",
  "proxy-connection",
]);

/** A number, with a fraction if need be. */
export function numberOption(
  flag: string,
  description: string,
  value: number,
  min: number,
  max: number,
): Option {
  return new Option(flag, description).default(value).argParser((text) => {
    const read = /^\d{1,9}(?:\.\d{1,6})?$/.test(text) ? Number(text) : Number.NaN;
    if (!(read >= min && read <= max))
      throw new InvalidArgumentError(`Expected a number from ${min} to ${max}.`);
    return read;
  });
}

/** A whole number from 1. */
export function wholeOption(flag: string, description: string, value: number, max: number): Option {
  return new Option(flag, description).default(value).argParser((text) => {
    const read = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
    if (!(read >= 1 && read <= max))
      throw new InvalidArgumentError(`Expected a whole number from 1 to ${max}.`);
    return read;
  });
}

/** Reads a field 'Name: value', and adds it to those before. */
export function readField(
  line: string,
  before: readonly (readonly [string, string])[],
): (readonly [string, string])[] {
  const match = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*$/.exec(line);
  const [, name = "", value = ""] = match ?? [];
  if (match === null || line.length > HEADER_CHARS_MAX)
    throw new InvalidArgumentError("Expected 'Name: value'.");
  if (OWN_FIELDS.has(name.toLowerCase())) {
    throw new InvalidArgumentError(`${name} can not be chosen: the URL and the connection say it.`);
  }
  if (before.length >= HEADERS_MAX) throw new InvalidArgumentError(`Expected at most ${HEADERS_MAX} fields.`);
  return [...before, [name, value]];
}

/** An address without a host is on loopback. */
export function onLoopback({ hostname, port }: ListenAddress): ListenAddress {
  return { hostname: hostname === "" ? "127.0.0.1" : hostname, port };
}

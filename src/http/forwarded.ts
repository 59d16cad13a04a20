/**
 * Who asked, through proxies: X-Forwarded-For and Forwarded (RFC 7239). Both grow at the right end,
 * and only what a trusted proxy wrote counts; so where there is too much it is the left that is cut.
 */
import { parseIp } from "./ip.ts";
import { memoize } from "./memo.ts";
import { isToken, quote, splitList, trimOws, unquote } from "./syntax.ts";
import { TextParts } from "./text-parts.ts";

/** Hops that are read of one field: the last ones. */
export const FORWARDED_HOPS_MAX = 32;

/** One element of Forwarded. */
export interface ForwardedElement {
  /** Address without port and brackets; an obfuscated identifier or "unknown" as sent. */
  readonly for?: string;
  readonly proto?: string;
  readonly host?: string;
}

/**
 * The addresses of X-Forwarded-For, first hop first, in canonical text, at most the last 32. What
 * is no address reads as "unknown": it keeps its place, so that a walk from the right stops there.
 */
export function parseForwardedFor(xff: string | null): string[] {
  if (xff === null) return [];
  const hops: string[] = [];
  let end = xff.length;
  while (end >= 0 && hops.length < FORWARDED_HOPS_MAX) {
    const comma = end === 0 ? -1 : xff.lastIndexOf(",", end - 1);
    const hop = trimOws(xff.slice(comma + 1, end));
    if (hop !== "") hops.push(nodeAddress(unquote(hop)) ?? "unknown");
    end = comma;
  }
  return hops.reverse();
}

/** The elements of Forwarded, first hop first, at most the last 32 (RFC 7239 section 4). */
export function parseForwarded(value: string | null): ForwardedElement[] {
  if (value === null) return [];
  return splitList(value)
    .slice(-FORWARDED_HOPS_MAX)
    .map((element) => {
      const found: { for?: string; proto?: string; host?: string } = {};
      for (const pair of splitList(element, ";")) {
        const equals = pair.indexOf("=");
        if (equals < 0) continue;
        const text = unquote(pair.slice(equals + 1));
        switch (pair.slice(0, equals).toLowerCase()) {
          case "for":
            found.for ??= nodeAddress(text) ?? text;
            break;
          case "proto":
            found.proto ??= text.toLowerCase();
            break;
          case "host":
            found.host ??= text;
            break;
        }
      }
      return found;
    });
}

const text = new TextParts();

/** One element of Forwarded; addresses as text without brackets, which IPv6 gets here (RFC 7239 section 6). */
export function formatForwarded(element: {
  readonly for: string;
  readonly proto: string;
  readonly host: string;
  readonly by?: string;
}): string {
  text.begin();
  text.add("for=");
  text.add(formatNode(element.for));
  text.add(";proto=");
  text.add(formatValue(element.proto));
  text.add(";host=");
  text.add(formatValue(element.host));
  if (element.by !== undefined) {
    text.add(";by=");
    text.add(formatNode(element.by));
  }
  return text.text();
}

/** The address in `address`, `address:port` or `[address]:port`; null when there is none. */
function nodeAddress(text: string): string | null {
  const bracketed = /^\[([^\]]*)\](?::[^:]*)?$/.exec(text);
  if (bracketed !== null) return parseIp(bracketed[1] ?? "")?.text ?? null;
  const colon = text.indexOf(":");
  const hasPort = colon >= 0 && text.indexOf(":", colon + 1) < 0;
  return parseIp(hasPort ? text.slice(0, colon) : text)?.text ?? null;
}

const formatValue = memoize((text) => (isToken(text) ? text : quote(text)));

const formatNode = memoize((text) => {
  const address = parseIp(text);
  if (address === null) return formatValue(text);
  return formatValue(address.family === 6 ? `[${address.text}]` : address.text);
});

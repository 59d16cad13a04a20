/**
 * Content codings of a viewer (RFC 9110 section 12.5.3), reduced to those we can make. A viewer
 * that sends no Accept-Encoding gets none, though the RFC would allow any: such clients are rarely
 * able to decode.
 */
import { memoize } from "./memo.ts";
import { splitList, trimOws } from "./syntax.ts";

/** A content coding that we can make and read. */
export type ContentCoding = "gzip" | "br" | "zstd";

/** Our order where the viewer has no preference. */
const PREFERENCE: readonly ContentCoding[] = ["zstd", "br", "gzip"];
/** The order of the canonical list. */
const CANONICAL: readonly ContentCoding[] = ["br", "gzip", "zstd"];

interface Accepted {
  readonly codings: readonly ContentCoding[];
  readonly identity: boolean;
  readonly canonical: string;
}

/** The codings the viewer accepts, best first: by q, then zstd, br, gzip. */
export function acceptedCodings(value: string | null): readonly ContentCoding[] {
  return value === null ? NOTHING_SENT.codings : accepted(value).codings;
}

/** Whether the viewer takes the representation as it is; only `identity;q=0` or `*;q=0` refuse it. */
export function acceptsIdentity(value: string | null): boolean {
  return value === null ? true : accepted(value).identity;
}

/** The accepted codings as a canonical list, a part of "br, gzip, zstd"; empty when there is none. */
export function normalizeAcceptEncoding(value: string | null): string {
  return value === null ? "" : accepted(value).canonical;
}

const NOTHING_SENT: Accepted = { codings: [], identity: true, canonical: "" };

const accepted = memoize((value: string): Accepted => {
  const weights = new Map<string, number>();
  for (const member of splitList(value)) {
    const semicolon = member.indexOf(";");
    const name = trimOws(semicolon < 0 ? member : member.slice(0, semicolon)).toLowerCase();
    const coding = name === "x-gzip" ? "gzip" : name; // RFC 9110 section 8.4.1.3
    const weight = semicolon < 0 ? 1 : weightOf(member.slice(semicolon + 1));
    weights.set(coding, Math.min(weight, weights.get(coding) ?? 1));
  }
  const any = weights.get("*") ?? 0;
  const weightFor = (coding: ContentCoding) => weights.get(coding) ?? any;
  const codings = PREFERENCE.filter((coding) => weightFor(coding) > 0).sort(
    (a, b) => weightFor(b) - weightFor(a),
  );
  return {
    codings,
    identity: (weights.get("identity") ?? weights.get("*") ?? 1) > 0,
    canonical: CANONICAL.filter((coding) => codings.includes(coding)).join(", "),
  };
});

/** The q of a member's parameters (RFC 9110 section 12.4.2): 1 without one, 0 when it is malformed. */
function weightOf(parameters: string): number {
  for (const parameter of splitList(parameters, ";")) {
    const match = /^q[ \t]*=[ \t]*(.*)$/i.exec(parameter);
    if (match === null) continue;
    const digits = match[1] ?? "";
    return /^(?:0(?:\.[0-9]*)?|1(?:\.0*)?)$/.test(digits) ? Number(digits) : 0;
  }
  return 1;
}

/** One text for one value, whatever the order of its members: what content hashes are made of. */
import { createHash } from "node:crypto";

/** The value as JSON with sorted members and no spaces. Takes plain data. */
export function canonicalText(value: unknown): string {
  if (Array.isArray(value))
    return `[${value.map((item) => canonicalText(item === undefined ? null : item)).join(",")}]`;
  if (typeof value === "object" && value !== null) {
    const members = Object.entries(value)
      .filter(([, member]) => member !== undefined)
      .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
      .map(([name, member]) => `${JSON.stringify(name)}:${canonicalText(member)}`);
    return `{${members.join(",")}}`;
  }
  return JSON.stringify(value) ?? "null";
}

/** Hash of a text: SHA-256, the first 128 bits, in hex. */
export function contentHash(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 32);
}

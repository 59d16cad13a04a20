/** By what a node knows its own requests when they come back to it. */
import { randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import type { DataDir } from "../service/data-dir.ts";

/** The token of this node in CDN-Loop (RFC 8586): made once, kept in the data directory. */
export function loopId(dataDir: DataDir): string {
  const file = dataDir.file("loop-id");
  try {
    const known = readFileSync(file, "utf8").trim();
    if (/^proxima-[0-9a-f]{16}$/.test(known)) return known;
  } catch {
    // The first start: there is none yet.
  }
  const made = `proxima-${randomBytes(8).toString("hex")}`;
  writeFileSync(file, `${made}\n`, { mode: 0o600 });
  return made;
}

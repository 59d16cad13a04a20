/** The config that a test gives, as the file that the program reads. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** @import { CdnOptions } from "./types.d.ts" */

/** @param {CdnOptions["config"]} config @returns {{ readonly argv: readonly string[], readonly remove: () => void }} */
export function writeConfig(config) {
  if (config === undefined) return { argv: [], remove: () => {} };
  if (typeof config === "string") return { argv: ["--config", config], remove: () => {} };
  const folder = mkdtempSync(join(tmpdir(), "proxima-testing-"));
  const file = join(folder, "config.json");
  writeFileSync(file, JSON.stringify({ sites: config.sites }), { mode: 0o600 });
  return { argv: ["--config", file], remove: () => rmSync(folder, { recursive: true, force: true }) };
}

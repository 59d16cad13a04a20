/** What a run was made on and with. */
import { cpus, release, totalmem } from "node:os";
import packageJson from "../../package.json" with { type: "json" };
import { TOOLS, versionOf } from "./packages.ts";
import type { Peer } from "./peers/peer.ts";

/** The machine, in some words. */
export function machine(): Record<string, string> {
  const [first] = cpus();
  return {
    CPU: `${cpus().length} x ${first?.model.trim() ?? "unknown"}`,
    memory: `${Math.round(totalmem() / 2 ** 30)} GiB`,
    kernel: `${process.platform} ${release()}`,
  };
}

/** Versions of all that took part. */
export function versions(peers: readonly Peer[]): Record<string, string> {
  const found: Record<string, string> = { proxima: packageJson.version, bun: Bun.version };
  for (const { name, needs } of peers) if (needs !== null) found[name] = versionOf(needs);
  for (const tool of TOOLS.slice(0, 2)) found[tool.program] = versionOf(tool);
  return found;
}

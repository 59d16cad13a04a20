/** Where the push zones of the node's fleet lie: with its control plane, which knows the node by its credential. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { NodeConfig } from "../../config/schema.ts";
import type { FleetStorage } from "../../edge/origin-maker.ts";
import { MEMBERSHIP_FILE, readMembership } from "./membership.ts";

/** In whatever process of the node; null when the node is in no fleet. Throws when its files can not be read. */
export function fleetStorage({ join: fleet, dataDir }: NodeConfig): FleetStorage | null {
  if (fleet === undefined) return null;
  const ca = fleet.caFile === undefined ? null : readFileSync(fleet.caFile, "utf8");
  let credential: string | null = null;
  return {
    url: fleet.control,
    ca,
    // Read when it is first needed: a snapshot may be prepared before a node has joined anew.
    credential: () => (credential ??= readMembership(join(dataDir, MEMBERSHIP_FILE))?.credential ?? ""),
  };
}

/** Where the workers of a node answer each other. */
import { join } from "node:path";

/** Path of the unix socket of a slot's worker. */
export function socketPath(folder: string, slot: number): string {
  return join(folder, `worker-${slot}.sock`);
}

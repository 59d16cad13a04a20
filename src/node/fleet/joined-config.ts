/** What belonging to a fleet does to a node's config. */
import type { NodeConfig } from "../../config/schema.ts";

/** The node's own part as a member of a fleet: what it does not permit by name is not permitted. */
export function joinedConfig<C extends NodeConfig>(config: C): C {
  return {
    ...config,
    permitted: { directories: [], secretVariables: [], secretDirectories: [], ...config.permitted },
  };
}

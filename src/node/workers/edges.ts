/**
 * Which edge a node gets: one in this process, or several workers. Only that one is loaded: a supervisor serves
 * nobody, and what is loaded beside an edge that serves is in the way of its garbage collector.
 */
import { availableParallelism } from "node:os";
import type { CreateEdge } from "../node.ts";

/** More than these are of no use on any machine that we know. */
const WORKERS_MAX = 64;

/** Makes edges with as many workers as the config says, `workerCommand` each; one worker is this process. */
export function edges(workerCommand: readonly string[]): CreateEdge {
  return async (setup) => {
    const { workers } = setup.config;
    const slots = workers === "auto" ? Math.min(WORKERS_MAX, availableParallelism()) : workers;
    if (slots === 1) {
      const { createEdge } = await import("../create-edge.ts");
      return await createEdge(setup);
    }
    const { createCluster } = await import("./cluster.ts");
    return await createCluster(workerCommand, slots)(setup);
  };
}

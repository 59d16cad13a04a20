/** What becomes known of the node's origins, in one place: told in the log, and to whoever watches. */
import { unreachable } from "../base/assert.ts";
import type { LogLevel, NodeLog } from "../service/log.ts";
import type { OriginEvent } from "../upstream/health/origin-event.ts";

/** The node's news of its origins. */
export class OriginBoard {
  readonly #log: NodeLog;
  readonly #watchers = new Set<(event: OriginEvent) => void>();

  constructor(log: NodeLog) {
    this.#log = log;
  }

  /** Something became known in one of the node's processes. */
  take(event: OriginEvent): void {
    const said = sentenceOf(event);
    if (said !== null) this.#log(said.level, said.text);
    for (const watcher of this.#watchers) watcher(event);
  }

  /** Calls `watcher` for everything that becomes known. Returns how to end that. */
  watch(watcher: (event: OriginEvent) => void): () => void {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }
}

function sentenceOf(event: OriginEvent): { readonly level: LogLevel; readonly text: string } | null {
  const who = `origin ${event.origin} of site ${event.site}`;
  switch (event.kind) {
    case "down": {
      const seconds = Math.max(0, Math.round((event.untilMs - event.atMs) / 100) / 10);
      return {
        level: "error",
        text: `${who} is down, its groups leave it out for ${seconds} s: ${event.reason}`,
      };
    }
    case "up":
      return { level: "info", text: `${who} is up again` };
    case "checks":
      if (event.verdict === "down")
        return { level: "error", text: `${who} is down, its groups leave it out: ${event.reason}` };
      return event.isFirst ? null : { level: "info", text: `${who} may be tried again: ${event.reason}` };
    case "degraded":
      return event.began
        ? {
            level: "warning",
            text: `${who} says that it is degraded: what is stored of it is used for longer`,
          }
        : null;
    case "well":
      return { level: "info", text: `${who} is not degraded any more` };
    default:
      return unreachable(event);
  }
}

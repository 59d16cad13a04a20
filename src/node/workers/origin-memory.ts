/** What a worker that starts has to be told of the origins: what the others know, and the faults that are set. */
import type { Fault } from "../../upstream/faults.ts";
import type { OriginEvent } from "../../upstream/health/origin-event.ts";

/** A fault of an origin; null takes it away. */
export interface FaultSetting {
  readonly site: string;
  readonly origin: string;
  readonly fault: Fault | null;
}

/** The newest of each kind, by origin. */
export class OriginMemory {
  readonly #events = new Map<string, OriginEvent>();
  readonly #faults = new Map<string, FaultSetting>();

  take(event: OriginEvent): void {
    const key = (kind: OriginEvent["kind"]) => `${event.site} ${event.origin} ${kind}`;
    if (event.kind === "up") this.#events.delete(key("down"));
    else if (event.kind === "well") this.#events.delete(key("degraded"));
    else this.#events.set(key(event.kind), event);
  }

  setFault(setting: FaultSetting): void {
    const key = `${setting.site} ${setting.origin}`;
    if (setting.fault === null) this.#faults.delete(key);
    else this.#faults.set(key, setting);
  }

  /** What still holds. */
  events(nowMs: number): OriginEvent[] {
    const ended = [...this.#events].filter(([, event]) => "untilMs" in event && event.untilMs <= nowMs);
    for (const [key] of ended) this.#events.delete(key);
    return [...this.#events.values()];
  }

  /** The faults that have not ended. */
  faults(nowMs: number): FaultSetting[] {
    const ended = [...this.#faults].filter(([, { fault }]) => fault === null || fault.untilMs <= nowMs);
    for (const [key] of ended) this.#faults.delete(key);
    return [...this.#faults.values()];
  }

  /** Forgets what is known of sites that are gone. */
  retain(sites: Readonly<Record<string, unknown>>): void {
    for (const [key, { site }] of this.#events) if (!Object.hasOwn(sites, site)) this.#events.delete(key);
  }
}

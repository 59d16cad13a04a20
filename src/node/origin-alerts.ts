/** Origins that are left out of their groups, as alerts: from what becomes known of them, and from what the config still has. */
import { memberName } from "../config/origins.ts";
import type { Config, SiteConfig } from "../config/schema.ts";
import type { OriginEvent } from "../upstream/health/origin-event.ts";
import type { AlertEvent } from "./alerts/alert.ts";

/** Tells of origins in groups that go and come back. */
export class OriginAlerts {
  readonly #tell: (event: AlertEvent) => void;
  #sites: Config["sites"];
  /** Those that are out, with what they were made from. */
  readonly #out = new Map<
    string,
    { readonly site: string; readonly origin: string; readonly reason: string; readonly source: string }
  >();

  constructor(tell: (event: AlertEvent) => void, sites: Config["sites"]) {
    this.#tell = tell;
    this.#sites = sites;
  }

  /** Something became known of an origin. */
  take(event: OriginEvent): void {
    const { site, origin } = event;
    const key = `${site} ${origin}`;
    if (event.kind === "up") {
      if (this.#out.delete(key)) this.#tell({ kind: "recovery", site, origin });
      return;
    }
    const isDown = event.kind === "down" || (event.kind === "checks" && event.verdict === "down");
    const source = sourceOf(this.#sites, site, origin);
    if (!isDown || source === null) return;
    this.#out.set(key, { site, origin, reason: event.reason, source });
    this.#tell({ kind: "failover", site, origin, reason: event.reason });
  }

  /** Those that are out now, `max` at most. */
  out(max: number): { readonly site: string; readonly origin: string; readonly reason: string }[] {
    const out = [...this.#out.values()].slice(0, max);
    return out.map(({ site, origin, reason }) => ({ site, origin, reason: reason.slice(0, 500) }));
  }

  /** Another config is in force: an origin that is gone, or another one now, is not out any more. */
  retain(sites: Config["sites"]): void {
    this.#sites = sites;
    for (const [key, { site, origin, source }] of this.#out) {
      if (sourceOf(sites, site, origin) === source) continue;
      this.#out.delete(key);
      this.#tell({ kind: "recovery", site, origin });
    }
  }
}

/** What an origin of a group is made from; null for one that is in no group, and nothing stands for. */
function sourceOf(sites: Config["sites"], site: string, origin: string): string | null {
  const config: SiteConfig | undefined = Object.hasOwn(sites, site) ? sites[site] : undefined;
  const groups = Object.values(config?.originGroups ?? {}).filter(({ members }) =>
    members.some((member) => memberName(member) === origin),
  );
  if (config === undefined || groups.length === 0) return null;
  return JSON.stringify([config.origins[origin], groups]);
}

/**
 * Which sites show a zone: those with an origin of it in any version that was ever active. One that is out of
 * force may come back, and what edges keep of it must not be older than the zone.
 */
import type { ControlDatabase } from "../database.ts";

/** Looks it up; the answer is kept until a version becomes active. */
export class ZoneSites {
  readonly #database: ControlDatabase;
  #known = new Map<string, Set<string>>();
  #upTo = 0;

  constructor(database: ControlDatabase) {
    this.#database = database;
  }

  /** Ids of the sites, in order. */
  of(zone: string): readonly string[] {
    this.#catchUp();
    return [...(this.#known.get(zone) ?? [])].sort();
  }

  #catchUp(): void {
    const rows = this.#database.all<{ sequence: number; site: string; config: string | null }>(
      `SELECT activations.sequence, activations.site, versions.config FROM activations
       LEFT JOIN versions ON versions.site = activations.site AND versions.number = activations.version AND versions.config LIKE '%"zone"%'
       WHERE activations.sequence > ? ORDER BY activations.sequence`,
      this.#upTo,
    );
    for (const { sequence, site, config } of rows) {
      this.#upTo = sequence;
      for (const zone of config === null ? [] : zonesOf(JSON.parse(config)))
        this.#known.set(zone, (this.#known.get(zone) ?? new Set()).add(site));
    }
  }
}

/** Zones that the origins of a site's config name. */
export function zonesOf(config: unknown): string[] {
  if (typeof config !== "object" || config === null || !("origins" in config)) return [];
  const { origins } = config;
  if (typeof origins !== "object" || origins === null) return [];
  return Object.values(origins).flatMap((origin: unknown) =>
    typeof origin === "object" && origin !== null && "zone" in origin && typeof origin.zone === "string"
      ? [origin.zone]
      : [],
  );
}

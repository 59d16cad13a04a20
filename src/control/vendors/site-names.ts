/**
 * Which site a vendor's client means: by the site's own id, by one that is made of it (`site-ids.ts`), by one
 * of the site's `vendorIds` (what a client has in its settings already), or by a host that the site answers
 * for. Only sites in force are found, and of those only the caller's.
 */
import type { Caller } from "../api/route.ts";
import type { ControlParts } from "../parts.ts";
import { Refused } from "../refusal.ts";
import { siteIds } from "./site-ids.ts";
import type { KnownSite } from "./vendor.ts";

/** Sites that are listed to a vendor's client. */
const SITES_LISTED_MAX = 10_000;

/** The names, made anew when another snapshot is in force. */
export class SiteNames {
  readonly #parts: ControlParts;
  #snapshot = -1;
  #byId = new Map<string, string[]>();

  constructor(parts: ControlParts) {
    this.#parts = parts;
  }

  /** The site that an id means. Throws a Refused: 404; 403 for a token that is not for it, whether it is there or not. */
  find(id: string, caller: Caller): KnownSite {
    this.#refresh();
    const among = (this.#byId.get(id) ?? []).filter(
      (site) => caller.sites === null || caller.sites.includes(site),
    );
    // A site's own id stands above what others call themselves.
    const site = among.includes(id) ? id : among[0];
    if (site !== undefined && (site === id || among.length === 1)) return this.#known(site);
    const shown = id.slice(0, 100);
    if (among.length > 1)
      throw new Refused(409, `"${shown}" is an id of the sites ${among.join(", ")}: take the site's own id`);
    if (caller.sites !== null)
      throw new Refused(403, `the token is not for "${shown}"; it is for ${caller.sites.join(", ")}`);
    throw new Refused(404, `there is no site "${shown}"`, { members: { missing: "site" } });
  }

  /** The site that answers for a host: exactly, by the longest pattern, or for any host; null when none does. */
  ofHost(host: string, caller: Caller): KnownSite | null {
    const name = host.toLowerCase();
    const candidates = [name];
    for (let dot = name.indexOf("."); dot >= 0; dot = name.indexOf(".", dot + 1))
      candidates.push(`*${name.slice(dot)}`);
    for (const candidate of [...candidates, "*"]) {
      const site = this.#parts.sites.siteOfHost(candidate);
      if (site === null) continue;
      if (caller.sites !== null && !caller.sites.includes(site)) return null;
      return this.#known(site);
    }
    return null;
  }

  /** Every site in force that the caller may see, by id. */
  all(caller: Caller): KnownSite[] {
    const found: KnownSite[] = [];
    for (const { id, hosts, activeVersion } of this.#parts.sites.list(SITES_LISTED_MAX, "", caller.sites))
      if (activeVersion !== null) found.push({ id, hosts });
    return found;
  }

  #known(id: string): KnownSite {
    return { id, hosts: this.#parts.sites.get(id).hosts };
  }

  #refresh(): void {
    const snapshot = this.#parts.sites.newestSnapshot()?.number ?? 0;
    if (snapshot === this.#snapshot) return;
    const byId = new Map<string, string[]>();
    for (const { site, vendorIds } of this.#parts.sites.vendorIds()) {
      for (const id of new Set([site, ...Object.values(siteIds(site)), ...vendorIds]))
        byId.set(id, [...(byId.get(id) ?? []), site]);
    }
    this.#byId = byId;
    this.#snapshot = snapshot;
  }
}

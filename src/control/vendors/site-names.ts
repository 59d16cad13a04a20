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
  #byId: ReadonlyMap<string, readonly string[]> = new Map();
  /** Ids that are made of sites', kept from one snapshot to the next. */
  #own: ReadonlyMap<string, readonly string[]> = new Map();

  constructor(parts: ControlParts) {
    this.#parts = parts;
  }

  /** The site that an id means. Throws a Refused: 404; 403 for a token that is not for it, whether it is there or not. */
  find(id: string, caller: Caller): KnownSite {
    this.#refresh();
    const among = (this.#byId.get(id) ?? []).filter(
      (site) => caller.sites === null || caller.sites.includes(site),
    );
    // A site's own id stands above what others call themselves; one that is rolled out first has no other.
    const isOwn = (caller.sites === null || caller.sites.includes(id)) && this.#parts.sites.isActive(id);
    const site = isOwn ? id : among[0];
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
  all(caller: Caller): readonly KnownSite[] {
    return this.#parts.sites.activeHosts(SITES_LISTED_MAX, caller.sites);
  }

  #known(id: string): KnownSite {
    return { id, hosts: this.#parts.sites.get(id).hosts };
  }

  #refresh(): void {
    const snapshot = this.#parts.sites.newestNumber();
    if (snapshot === this.#snapshot) return;
    const byId = new Map<string, string[]>();
    const own = new Map<string, readonly string[]>();
    const add = (id: string, site: string) => {
      const known = byId.get(id);
      if (known === undefined) byId.set(id, [site]);
      else if (!known.includes(site)) known.push(site);
    };
    for (const { site, vendorIds } of this.#parts.sites.vendorIds()) {
      const ids = this.#own.get(site) ?? [site, ...Object.values(siteIds(site))];
      own.set(site, ids);
      for (const id of ids) add(id, site);
      for (const id of vendorIds) add(id, site);
    }
    this.#byId = byId;
    this.#own = own;
    this.#snapshot = snapshot;
  }
}

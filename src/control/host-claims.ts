/**
 * Which hosts a token may give to sites. A host that nobody has is free, but not for everybody: who may
 * change one tenant's site must not take the traffic of another one's name, nor of all names that are left.
 */
import type { Scope } from "./tokens.ts";

/** What a token says of hosts. */
export interface HostRights {
  readonly scopes: readonly Scope[];
  /** Sites it is for; null for all. */
  readonly sites: readonly string[] | null;
  /** Patterns as in a site: "shop.example", "*.shop.example", "*". Null: none are named. */
  readonly hosts: readonly string[] | null;
}

/**
 * The first host that the token may not claim; null when it may have all. A token that may do everything
 * may claim any host. One that names hosts may claim those; one for all sites that names none, any but "*".
 * One for some sites that names none (as all were before there was this rule) keeps what its sites have.
 */
export function forbiddenHost(
  rights: HostRights,
  hosts: readonly string[],
  owned: readonly string[],
): string | null {
  if (rights.scopes.includes("admin") && rights.sites === null && rights.hosts === null) return null;
  const allowed = (host: string): boolean => {
    if (owned.includes(host)) return true;
    if (rights.hosts !== null) return rights.hosts.some((pattern) => covers(pattern, host));
    return rights.sites === null && host !== "*";
  };
  return hosts.find((host) => !allowed(host)) ?? null;
}

/** Does a pattern take every name that another one takes? */
function covers(pattern: string, host: string): boolean {
  const [wide, name] = [pattern.toLowerCase(), host.toLowerCase()];
  if (wide === "*" || wide === name) return true;
  return wide.startsWith("*.") && name.endsWith(wide.slice(1));
}

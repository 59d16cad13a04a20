/** The base key that a GET for a URL would have: what an invalidation or a purge of that URL acts on. */
import { baseKey, keyQuery } from "../cache/key.ts";
import type { SitePlan } from "../config/plan.ts";
import { parseAuthority } from "../http/authority.ts";
import { parseTarget } from "../http/target.ts";
import { behaviorFor, originPath } from "./phases/route.ts";

/** The key of an absolute URL on this site; null when no behaviour takes its path or it is malformed. */
export function urlKey(site: SitePlan, url: URL): string | null {
  const scheme = url.protocol === "https:" ? "https" : url.protocol === "http:" ? "http" : null;
  if (scheme === null) return null;
  const authority = parseAuthority(url.host, scheme);
  const target = parseTarget(`${scheme}://${url.host}${url.pathname}${url.search}`);
  if (authority === null || target === null) return null;
  const behavior = behaviorFor(site, target.path);
  if (behavior === null) return null;
  return baseKey(
    site.id,
    scheme,
    authority.authority,
    originPath(site, behavior, target.path),
    keyQuery(behavior.key, target.query),
  );
}

/** Orders of purges as the control plane takes them: for sites in force, with URLs as they travel. */
import { ProximaError } from "../base/errors.ts";
import { type PurgeOrder, parsePurgeRequest } from "../cache/purge-request.ts";
import { absoluteUrl } from "./absolute-url.ts";
import type { Caller } from "./api/route.ts";
import type { ControlParts } from "./parts.ts";
import { Refused } from "./refusal.ts";

/** Reads an order of a caller. Throws a Refused: 403 for a site that is none of the caller's business, 400. */
export function readOrder(parts: ControlParts, caller: Caller, body: unknown): PurgeOrder {
  const named = typeof body === "object" && body !== null && "site" in body ? body.site : undefined;
  // Said before anything is told about which sites there are.
  if (typeof named === "string") caller.mustReach(named);
  try {
    return parsePurgeRequest(body, {
      sites: () => {
        // Of many sites only the one that is named is looked at.
        if (typeof named === "string") return parts.sites.isActive(named) ? [named] : [];
        const active = parts.sites.activeIds();
        return caller.sites === null ? active : active.filter((id) => caller.sites?.includes(id));
      },
      urlTarget: (_site, url) => absoluteUrl(url),
    });
  } catch (error) {
    if (error instanceof ProximaError && error.source === "viewer") throw new Refused(400, error.message);
    throw error;
  }
}

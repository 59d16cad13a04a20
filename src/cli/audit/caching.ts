/** How long an answer says that it may be kept, by whom: RFC 9111 as far as an origin's own words go, without an edge's settings. */
import {
  type CacheControl,
  parseCacheControl,
  parseSurrogateControl,
  parseTargetedCacheControl,
} from "../../http/cache-control.ts";
import { parseHttpDate } from "../../http/date.ts";

/** What an answer's header section means for caches. */
export interface Caching {
  readonly control: CacheControl;
  /** No word about it at all: caches guess (RFC 9111 section 4.2.2), or do not keep it. */
  readonly isSilent: boolean;
  /** True when a shared cache may keep it and use it for others without asking. */
  readonly isShared: boolean;
  /** Freshness lifetime in a shared cache, in seconds; null when nothing says. */
  readonly sharedSeconds: number | null;
  /** Freshness lifetime in a browser, in seconds; null when nothing says. */
  readonly browserSeconds: number | null;
}

/** Reads the fields. */
export function cachingOf(fields: Headers): Caching {
  const control = parseCacheControl(fields.get("cache-control"));
  const targeted =
    parseTargetedCacheControl(fields.get("cdn-cache-control")) ??
    parseSurrogateControl(fields.get("surrogate-control"))?.cacheControl ??
    null;
  const expires = expiresSeconds(fields);
  // RFC 9213 section 2.2: a targeted field stands in place of Cache-Control for those that it speaks to.
  const shared = targeted ?? control;
  const sharedSeconds = shared.sMaxage ?? shared.maxAge ?? (targeted === null ? expires : null);
  const isForbidden = shared.noStore || shared.private || shared.noCache;
  return {
    control,
    isSilent: fields.get("cache-control") === null && targeted === null && expires === null,
    isShared: !isForbidden && (sharedSeconds === null ? shared.public : sharedSeconds > 0),
    sharedSeconds: isForbidden ? 0 : sharedSeconds,
    browserSeconds: control.noStore || control.noCache ? 0 : (control.maxAge ?? expires),
  };
}

/** Expires less Date (RFC 9111 section 4.2.1); an Expires that is no date has passed (section 5.3). */
function expiresSeconds(fields: Headers): number | null {
  const expires = fields.get("expires");
  if (expires === null) return null;
  const at = parseHttpDate(expires);
  const date = parseHttpDate(fields.get("date"));
  return at === null || date === null ? 0 : Math.max(0, Math.round((at - date) / 1_000));
}

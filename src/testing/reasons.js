/**
 * What the program's words for reasons mean, for people whose test has failed: one sentence each, and what to
 * look at.
 */

/** @type {Readonly<Record<string, string>>} */
export const REASONS = {
  fresh: "it is stored and fresh",
  "not-stored": "nothing is stored for this cache key",
  "vary-mismatch":
    "something is stored for the URL, but for other request headers: the origin's Vary, or the cache key's headers, tell them apart",
  "partly-stored": "only a part of it is stored",
  "past-freshness": "it was stored, and its lifetime is over",
  "not-modified": "its lifetime was over; the origin was asked, and said that it has not changed",
  "stale-while-revalidate": "its lifetime is over; it is served while a new one is fetched",
  "stale-if-error": "its lifetime is over, and the origin failed",
  "origin-degraded": "the origin said that it suffers, so what is stored is used for longer",
  "origin-slow": "the origin took too long, so what is stored was used",
  "request-authorization":
    "the request has Authorization; its answer is stored only where Cache-Control says public, s-maxage or must-revalidate",
  "request-cookie":
    "the request has cookies that are forwarded and not in the cache key: its answer is stored only where the origin says how long",
  "response-no-store": "the origin's Cache-Control says no-store",
  "response-private": "the origin's Cache-Control says private",
  "response-set-cookie": "the origin's answer sets a cookie",
  "response-vary-star": "the origin's answer varies by everything (Vary: *)",
  "response-not-cacheable":
    "an answer with this status is not stored unless the origin says how long it lives",
  "response-no-freshness":
    "the origin does not say how long it lives (Cache-Control, Expires), and the behaviour has no default",
  "response-incomplete": "the origin's answer broke off",
  "response-partial": "the origin answered with a part that nobody asked for",
  "response-type-mismatch": "the origin's answer has another type than its path says",
  "response-too-large": "the answer is larger than the cache takes",
  "response-self-redirect": "the answer redirects to itself",
  "request-method": "the method is not GET or HEAD",
  "request-body": "the request has a body",
  "request-condition": "the request has a condition that only the origin can decide",
  "request-connection": "the connection is used for something else than HTTP",
  "request-range": "the request is for a range that the cache can not make",
  "request-upgrade": "the request asks for another protocol (WebSocket)",
  "only-if-cached": "the request wants only what is stored",
  "behavior-no-cache": "the behaviour of this path says cache: false",
  "behavior-bypass": "a rule of the behaviour says that this request passes the cache",
  "development-mode": "the site is in development mode",
  "answered-at-edge": "the edge answered by itself: a redirect, a refusal, an error",
  "bad-request": "the edge refused the request",
  "no-site": "no site has this host, or no behaviour has this path",
  "log-behind": "an edge knew of a purge that this shield did not: it was not asked for what it has stored",
  "origin-error": "the origin could not be reached, or its answer could not be used",
};

/** A sentence for a reason. @param {string} reason */
export function meaningOf(reason) {
  return REASONS[reason] ?? "see docs/reference/access-log.md";
}

/** What an audit can find: each kind with its level, what it means and what to do. */

/** How grave: `error` leaks or breaks, `warning` costs hit ratio, `notice` is worth a look. */
export type Level = "error" | "warning" | "notice";

/** Levels, the gravest first. */
export const LEVELS: readonly Level[] = ["error", "warning", "notice"];

interface Kind {
  readonly level: Level;
  readonly title: string;
  readonly fix: string;
}

/** Every kind of finding. */
export const KINDS = {
  "public-set-cookie": {
    level: "error",
    title: "a cookie is set by an answer that shared caches may keep",
    fix: "send it with Cache-Control: private, or set the cookie elsewhere; a cache that keeps it gives one viewer's session to others",
  },
  "public-secret": {
    level: "error",
    title: "an answer that shared caches may keep holds what looks like a token or a password",
    fix: "send it with Cache-Control: private, no-store",
  },
  "public-personal": {
    level: "error",
    title: "an answer that shared caches may keep holds personal data",
    fix: "send it with Cache-Control: private, or leave the personal part to a request of its own",
  },
  "differs-by-session": {
    level: "error",
    title: "an answer that shared caches may keep is another one without the session",
    fix: "send it with Cache-Control: private to those who are logged in",
  },
  "public-form-token": {
    level: "error",
    title: "a page that shared caches may keep holds a form's secret token (CSRF)",
    fix: "send it with Cache-Control: private, or fetch the token by a request of its own; shared, it protects nobody and forms fail",
  },
  "public-account-path": {
    level: "warning",
    title: "a path that sounds personal may be kept by shared caches",
    fix: "if it is for one viewer, send it with Cache-Control: private",
  },
  "public-logged-in": {
    level: "warning",
    title: "a page that shared caches may keep offers to log out",
    fix: "send it with Cache-Control: private to those who are logged in",
  },
  "long-without-hash": {
    level: "warning",
    title: "an asset is kept for a week or more under a name that does not change with its content",
    fix: "put a hash into its name, or shorten max-age and give it an ETag; browsers can not be purged",
  },
  "short-with-hash": {
    level: "warning",
    title: "an asset whose name holds a hash is kept for less than a day",
    fix: "send Cache-Control: public, max-age=31536000, immutable",
  },
  "no-validator": {
    level: "warning",
    title: "an answer that may be kept has neither ETag nor Last-Modified",
    fix: "send an ETag: without one every refresh transfers the whole body",
  },
  "validator-ignored": {
    level: "warning",
    title: "a validator is sent, but a request with it is not answered with 304",
    fix: "compare If-None-Match and If-Modified-Since, and answer 304; frameworks have middleware for it",
  },
  "validator-unstable": {
    level: "warning",
    title: "the same bytes come with different validators",
    fix: "make the ETag from the content, not from the machine, the file's inode or the time",
  },
  "query-copies": {
    level: "warning",
    title: "different query strings give the same bytes",
    fix: "leave these parameters out of links, or out of the cache key (cacheKey.query of the behaviour)",
  },
  "vary-unbounded": {
    level: "warning",
    title: "Vary names a field with almost as many values as viewers",
    fix: "take it out of Vary: vary by what really differs, or send the answer as private",
  },
  "vary-star": {
    level: "warning",
    title: "Vary: * lets no cache use the answer again",
    fix: "name the fields that the answer depends on",
  },
  "asset-sets-cookie": {
    level: "warning",
    title: "an asset sets a cookie, so shared caches do not keep it",
    fix: "leave Set-Cookie out of answers for assets: serve them before the session middleware",
  },
  "asset-not-kept": {
    level: "warning",
    title: "an asset may not be kept by shared caches",
    fix: "send Cache-Control: public with max-age; with a hash in its name a year, immutable",
  },
  "asset-silent": {
    level: "warning",
    title: "an asset says nothing about how long it may be kept",
    fix: "send Cache-Control with max-age; caches guess otherwise, or ask each time",
  },
  "error-kept": {
    level: "warning",
    title: "an error may be kept for an hour or more",
    fix: "send errors with a short max-age, or none",
  },
  "coding-without-vary": {
    level: "warning",
    title: "a compressed answer that may be kept has no Vary: Accept-Encoding",
    fix: "send Vary: Accept-Encoding; a cache may give it to viewers who can not read it",
  },
  contradiction: {
    level: "warning",
    title: "Cache-Control contradicts itself",
    fix: "keep one of them: the strictest counts",
  },
  "not-compressed": {
    level: "notice",
    title: "a text is sent without compression",
    fix: "compress it, or let the edge do it (compress of the behaviour): the way from origin to edge carries it whole",
  },
  "page-silent": {
    level: "notice",
    title: "a page says nothing about how long it may be kept",
    fix: "send Cache-Control: s-maxage for the edge, or private",
  },
  "redirect-chain": {
    level: "notice",
    title: "a redirect leads to another redirect",
    fix: "link and redirect to the last address",
  },
  "broken-link": {
    level: "notice",
    title: "a link leads to an error",
    fix: "mend the link or the page",
  },
} as const satisfies Record<string, Kind>;

/** Name of a kind of finding. */
export type FindingId = keyof typeof KINDS;

/** Something found at a URL. */
export interface Finding {
  readonly id: FindingId;
  readonly url: string;
  /** What exactly, without values that may be secret. */
  readonly detail: string;
}

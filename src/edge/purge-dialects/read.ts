/**
 * The methods by which applications tell their cache to forget, brought to the one model of a purge: Fastly's
 * and nginx's PURGE of a URL, Varnish's PURGE and PURGEKEYS with xkey, BAN as FOSHttpCache sends it, Magento's
 * tags. Pure; what no purge can say is refused with a sentence.
 */
import type { Purge, PurgeScope } from "../../cache/purge-table.ts";
import type { FieldReader } from "../../http/fields.ts";
import { hostsOf, pathsOf, type Taken, tagsOf } from "./ban.ts";

/** A request as far as a dialect looks at it; the URL is in its one form. */
export interface DialectRequest {
  readonly method: string;
  readonly scheme: "http" | "https";
  readonly authority: string;
  readonly path: string;
  readonly query: string | null;
  readonly fields: FieldReader;
}

/** What is to be purged of the site that the request's host belongs to. */
export interface DialectOrder {
  readonly scope: PurgeScope;
  /** URLs are absolute. Empty for "everything". */
  readonly targets: readonly string[];
  readonly mode: Purge["mode"];
}

/** An order, or why there is none. */
export type DialectResult =
  | { readonly order: DialectOrder }
  | { readonly refused: { readonly status: 400 | 501; readonly message: string } };

const METHODS: ReadonlySet<string> = new Set(["PURGE", "BAN", "PURGEKEYS"]);

/** Is this a method that tells a cache to forget? */
export function isPurgeMethod(method: string): boolean {
  return METHODS.has(method);
}

/** Reads a request of one of these methods. */
export function readDialect(request: DialectRequest): DialectResult {
  return request.method === "BAN" ? readBan(request) : readPurge(request);
}

function readPurge(request: DialectRequest): DialectResult {
  const { fields, method } = request;
  const keys = fields.get("xkey-purge");
  const softKeys = fields.get("xkey-softpurge");
  const magento = fields.get("x-magento-tags-pattern");
  const surrogates = fields.get("surrogate-key");
  const given = [keys, softKeys, magento, surrogates].filter((value) => value !== null);
  if (given.length > 1)
    return refused(
      400,
      "say what to purge by one field: xkey-purge, xkey-softpurge, X-Magento-Tags-Pattern or Surrogate-Key",
    );
  if (fields.get("x-pool") !== null)
    return refused(501, "X-Pool is not known here: what is stored has no pools; purge by tags or by URL");
  const isSoft = softKeys !== null || fields.get("fastly-soft-purge") === "1";
  const mode = isSoft ? "soft" : "hard";
  if (magento === "") return refused(400, "X-Magento-Tags-Pattern is empty; .* takes everything");
  if (magento !== null) return ofTags(tagsOf(magento), mode, "X-Magento-Tags-Pattern");
  const named = keys ?? softKeys ?? surrogates;
  if (named !== null) {
    const tags = named.split(/[\s,]+/).filter((tag) => tag !== "");
    return tags.length === 0 ? refused(400, "the field that names tags is empty") : order("tag", tags, mode);
  }
  if (method === "PURGEKEYS")
    return refused(400, "PURGEKEYS needs xkey-purge or xkey-softpurge, with tags and spaces between them");
  return ofUrl(request, mode);
}

function ofUrl({ scheme, authority, path, query }: DialectRequest, mode: Purge["mode"]): DialectResult {
  // As nginx's: a star at the end takes all that begins so.
  if (path.endsWith("*") && query === null)
    return order("prefix", [`${authority}${path.slice(0, -1)}`], mode);
  return order("url", [`${scheme}://${authority}${path}${query === null ? "" : `?${query}`}`], mode);
}

function readBan({ fields }: DialectRequest): DialectResult {
  const [host, url, type, tags] = ["x-host", "x-url", "x-content-type", "x-cache-tags"].map((name) =>
    fields.get(name),
  );
  if (host == null && url == null && type == null && tags == null)
    return refused(501, "BAN is known by X-Host, X-Url and X-Cache-Tags; purge a URL by PURGE");
  // By the letter it takes everything; what it comes from is a variable that nobody has set.
  if (host === "" || url === "" || tags === "")
    return refused(400, "X-Host, X-Url or X-Cache-Tags is empty; .* takes everything");
  const mode = fields.get("fastly-soft-purge") === "1" ? "soft" : "hard";
  if (type != null && type !== ".*")
    return refused(501, "X-Content-Type can not be purged by; leave it out, or purge by tag, path or host");
  const hosts = host == null ? "all" : hostsOf(host);
  const paths = url == null ? "all" : pathsOf(url);
  if (hosts === null)
    return refused(
      501,
      `X-Host: only host names from end to end are known, such as ^(www\\.shop\\.example)$`,
    );
  if (paths === null)
    return refused(
      501,
      "X-Url: only literal paths with .* and without a query are known, such as ^/blog/, /articles/.* or \\.png$",
    );
  if (tags != null) {
    if (hosts !== "all" || paths !== "all")
      return refused(
        501,
        "tags together with a host or a path can not be purged by; send them one after the other",
      );
    return ofTags(tagsOf(tags), mode, "X-Cache-Tags");
  }
  if (paths === "all") return hosts === "all" ? order("everything", [], mode) : order("host", hosts, mode);
  if (hosts === "all") return order("wildcard", paths, mode);
  return order(
    "wildcard",
    hosts.flatMap((one) => paths.map((path) => `${one}${path}`)),
    mode,
  );
}

function ofTags(tags: Taken<string>, mode: Purge["mode"], field: string): DialectResult {
  if (tags === null)
    return refused(
      501,
      `${field}: only tags from end to end are known, such as (^|,)(a|b)(,|$), with signs in them escaped`,
    );
  return tags === "all" ? order("everything", [], mode) : order("tag", tags, mode);
}

function order(scope: PurgeScope, targets: readonly string[], mode: Purge["mode"]): DialectResult {
  return { order: { scope, targets, mode } };
}

function refused(status: 400 | 501, message: string): DialectResult {
  return { refused: { status, message } };
}

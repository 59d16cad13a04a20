/** explain: the decision about one request in steps, taken from the state of the edge and changing nothing. */

import { unreachable } from "../base/assert.ts";
import type { Freshness } from "../cache/freshness.ts";
import { secondaryIngredients } from "../cache/key.ts";
import type { StoredResponse } from "../cache/stored.ts";
import { parseCacheControl } from "../http/cache-control.ts";
import { Fields } from "../http/fields.ts";
import type { EdgeContext } from "./context.ts";
import type { RoutedExchange } from "./exchange.ts";
import { Exchange } from "./exchange.ts";
import type { Explanation, ExplanationStep } from "./explanation.ts";
import { flightKey } from "./flight.ts";
import type { ViewerRequest, ViewerResponse } from "./message.ts";
import { bypassReason, makeKey } from "./phases/cacheability.ts";
import { cookieForwardedUnkeyed } from "./phases/origin-request.ts";
import { receive } from "./phases/receive.ts";
import { route } from "./phases/route.ts";
import { isWebSocket } from "./phases/upgrade.ts";
import { lifeOf } from "./staleness.ts";

/** Longest URL that is explained, in characters. */
const URL_CHARS_MAX = 16 * 1024;

/** Explains what would happen now to a request for `url`. */
export function explain(
  context: EdgeContext,
  url: string,
  options: { readonly method?: string; readonly headers?: Readonly<Record<string, string>> },
): Explanation {
  const steps: ExplanationStep[] = [];
  const parsed = url.length > URL_CHARS_MAX ? null : URL.parse(url);
  if (parsed === null || (parsed.protocol !== "http:" && parsed.protocol !== "https:")) {
    return refused(url, steps, "request", "not an absolute http or https URL");
  }
  const request = probe(parsed, url, options);
  const x = new Exchange(request, context.clock.now());
  const bad = receive(x, context.settings, context.clock);
  if (bad !== null) return refused(url, steps, "request", `refused with ${bad.status}`, bad);
  steps.push({
    step: "request",
    outcome: `${x.method} ${x.scheme}://${x.authority}${x.path}`,
    details: { host: x.hostname, path: x.path, query: x.query },
  });
  const made = route(x, context.snapshot, context.settings);
  if (x.site === null) return refused(url, steps, "site", `no site has the host ${x.hostname}`, made);
  steps.push({
    step: "site",
    outcome: x.site.id,
    details: { hosts: x.site.config.hosts, snapshot: context.snapshot.number },
  });
  if (x.behavior !== null) {
    steps.push({
      step: "behavior",
      outcome: `${x.behavior.pattern.source} (number ${x.behavior.index + 1} of ${x.site.behaviors.length})`,
      details: { origin: x.origin, originPath: x.originPath },
    });
  }
  if (made !== null) return refused(url, steps, "answer", answerText(made), made);
  const routed = x as RoutedExchange;
  const asked = context.origins.askedNow(x.site, routed.origin, `${x.authority} ${x.originPath}`);
  if (asked !== null) steps.push({ step: "origin", outcome: asked });
  const reason = isWebSocket(request) ? "request-upgrade" : bypassReason(routed);
  if (reason !== null) {
    steps.push({ step: "cache", outcome: `not used: ${reason}` });
    return { url, steps, would: { result: "bypass", reason } };
  }
  makeKey(routed);
  steps.push({
    step: "key",
    outcome: x.base,
    details: {
      site: x.site.id,
      scheme: x.scheme,
      host: x.authority,
      path: x.originPath,
      query: x.keyQuery,
      queryLeftOut: x.query !== x.keyQuery,
      below: secondaryIngredients(routed.behavior.key, request.fields),
    },
  });
  return { url, steps, would: stored(context, routed, steps) };
}

/** The steps from lookup on. */
function stored(context: EdgeContext, x: RoutedExchange, steps: ExplanationStep[]): Explanation["would"] {
  const url = context.store.get(x.base);
  const inMemory = url?.find(x.secondary, x.request.fields) ?? null;
  const entry = inMemory ?? onDisk(context, x);
  if (entry !== null && !entry.freshness.explicit && cookieForwardedUnkeyed(x)) {
    steps.push({
      step: "stored",
      outcome:
        "not used: the origin sees this viewer's cookies, and did not say that its answer is for everyone",
    });
    return { result: "bypass", reason: "request-cookie" };
  }
  const usableUntilMs =
    entry === null || context.settings.fleet.mustValidate
      ? 0
      : Math.max(entry.freshness.freshUntilMs, entry.freshness.whileRevalidateUntilMs);
  if (
    context.clock.now() >= usableUntilMs &&
    parseCacheControl(x.request.fields.get("cache-control")).onlyIfCached
  ) {
    steps.push({ step: "stored", outcome: "nothing fresh, and only a stored answer was asked for" });
    return { result: "miss", reason: "only-if-cached" };
  }
  if (entry === null) {
    const count = url?.count ?? 0;
    steps.push({
      step: "stored",
      outcome: count > 0 ? `${count} variants, none of which fits this request` : "nothing",
      details: { vary: url?.vary ?? [], variants: count },
    });
    const pass = url?.pass ?? null;
    if (pass !== null && context.clock.now() < pass.untilMs) {
      steps.push({
        step: "pass",
        outcome: `answers are not stored (${pass.reason}): viewers do not wait for each other`,
        details: { forMs: pass.untilMs - context.clock.now() },
      });
      return { result: "bypass", reason: pass.reason };
    }
    const underway =
      context.flights.size > 0 && context.flights.find(x.base, flightKey(x, context)) !== undefined;
    if (underway)
      steps.push({ step: "collapse", outcome: "a request for it is under way: this one would wait for it" });
    return { result: "miss", reason: count > 0 ? "vary-mismatch" : "not-stored" };
  }
  steps.push({
    step: "stored",
    outcome: `status ${entry.status}, ${entry.length} bytes${whereOf(entry)}`,
    details: {
      status: entry.status,
      bytes: entry.length,
      coding: entry.coding,
      forms: entry.forms.map((form) => form.coding),
      onDisk: entry.disk !== null,
      missingBytes: entry.large?.missingBytes ?? 0,
      etag: entry.etag,
      vary: entry.vary,
      variants: Math.max(url?.count ?? 0, 1),
      storedAt: new Date(entry.storedAtMs).toISOString(),
    },
  });
  return freshness(context, x, entry, steps);
}

/** What the disk alone has, if no purge has taken it. */
function onDisk(context: EdgeContext, x: RoutedExchange): StoredResponse | null {
  const entry = context.disk?.peek(x.base, x.secondary, x.request.fields) ?? null;
  if (entry === null) return null;
  const asked = { sequence: entry.validSequence, local: entry.validLocal };
  return context.purges.covers(entry.key, entry.tags, asked) ? entry : null;
}

/** Where it lies, in words. */
function whereOf(entry: StoredResponse): string {
  const missing = entry.large?.missingBytes ?? 0;
  const onDisk = missing > 0 ? ` on disk, of which ${missing} are not there yet` : " on disk";
  if (entry.large !== null) return onDisk;
  return entry.disk === null ? " in memory" : ` in memory and${onDisk}`;
}

function freshness(
  context: EdgeContext,
  x: RoutedExchange,
  entry: StoredResponse,
  steps: ExplanationStep[],
): Explanation["would"] {
  const nowMs = context.clock.now();
  const { freshness } = entry;
  const seconds = (ms: number): number => Math.round(ms / 100) / 10;
  const age = seconds(nowMs - freshness.bornMs);
  const lifetime = seconds(freshness.freshUntilMs - freshness.bornMs);
  const state = entryState(entry, lifeOf(x, entry, context, nowMs), nowMs);
  steps.push({
    step: "freshness",
    outcome: `age ${age} s of ${lifetime} s (${freshness.source}): ${state}`,
    details: {
      source: freshness.source,
      ageSeconds: age,
      lifetimeSeconds: lifetime,
      freshForSeconds: seconds(freshness.freshUntilMs - nowMs),
      staleWhileRevalidateForSeconds: seconds(freshness.whileRevalidateUntilMs - nowMs),
      staleIfErrorForSeconds: seconds(freshness.ifErrorUntilMs - nowMs),
      mustRevalidate: freshness.mustRevalidate,
    },
  });
  switch (state) {
    case "fresh":
      return { result: "hit", reason: "fresh" };
    case "stale, used because the origin is degraded":
      return { result: "stale", reason: "origin-degraded" };
    case "stale, usable while it is refreshed":
      return { result: "updating", reason: "stale-while-revalidate" };
    case "stale":
      steps.push({
        step: "revalidation",
        outcome:
          entry.etag !== null || entry.lastModifiedMs !== null
            ? "the origin is asked whether it changed"
            : "it has no validator and is fetched whole",
      });
      return { result: "expired", reason: "past-freshness" };
    default:
      return unreachable(state);
  }
}

/** `life` is its freshness as it counts now. */
function entryState(
  entry: StoredResponse,
  life: Freshness,
  nowMs: number,
): "fresh" | "stale, used because the origin is degraded" | "stale, usable while it is refreshed" | "stale" {
  if (nowMs < Math.min(entry.freshness.freshUntilMs, life.freshUntilMs)) return "fresh";
  if (nowMs < life.freshUntilMs) return "stale, used because the origin is degraded";
  return nowMs < life.whileRevalidateUntilMs ? "stale, usable while it is refreshed" : "stale";
}

function refused(
  url: string,
  steps: ExplanationStep[],
  step: string,
  outcome: string,
  made?: ViewerResponse | null,
): Explanation {
  steps.push({ step, outcome });
  return {
    url,
    steps,
    would: { result: "bypass", reason: "answered-at-edge" },
    ...(made == null ? {} : { status: made.status }),
  };
}

function answerText(made: ViewerResponse): string {
  const location = made.fields.get("location");
  return location === null
    ? `the edge answers ${made.status} itself`
    : `the edge redirects with ${made.status} to ${location}`;
}

/** A request as a viewer would send it. */
function probe(
  parsed: URL,
  url: string,
  options: { readonly method?: string; readonly headers?: Readonly<Record<string, string>> },
): ViewerRequest {
  const fields = Fields.from(Object.entries(options.headers ?? {}));
  if (!fields.has("host")) fields.set("host", parsed.host);
  const hash = url.indexOf("#");
  return {
    method: (options.method ?? "GET").toUpperCase(),
    scheme: parsed.protocol === "https:" ? "https" : "http",
    http3: false,
    url: hash >= 0 ? parsed.href.slice(0, parsed.href.indexOf("#")) : parsed.href,
    fields,
    peerAddress: "127.0.0.1",
    body: () => null,
    signal: new AbortController().signal,
  };
}

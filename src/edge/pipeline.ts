import type { StoredResponse } from "../cache/stored.ts";
import { groupTag, readGroups } from "../cache/tags.ts";
import { parseCacheControl } from "../http/cache-control.ts";
import { type FieldReader, Fields } from "../http/fields.ts";
import type { EdgeContext } from "./context.ts";
import type { RoutedExchange } from "./exchange.ts";
import { Exchange } from "./exchange.ts";
import { fits, flightKey, startFlight, underwayFor } from "./flight.ts";
import type { FlightOutcome, FlightResponse } from "./flights.ts";
import { findStored } from "./lookup.ts";
import type {
  CacheReason,
  RequestHandler,
  UpgradeResponse,
  ViewerRequest,
  ViewerResponse,
} from "./message.ts";
import { madeAnswer } from "./phases/answer.ts";
import { bypassReason, endUnfresh, makeKey, mayUse } from "./phases/cacheability.ts";
import { deliverStored } from "./phases/deliver.ts";
import { deliverLarge } from "./phases/deliver-large.ts";
import { deliverFlight, deliverPass, within } from "./phases/deliver-stream.ts";
import { errorAnswer } from "./phases/fetch.ts";
import { answerPurge, isPurge } from "./phases/purge.ts";
import { receive } from "./phases/receive.ts";
import { behaviorFor, originPath, route } from "./phases/route.ts";
import { isWebSocket, upgrade } from "./phases/upgrade.ts";
import { VARIANT_RESTARTS_MAX, WHOLE_BODY_WAIT_MS } from "./settings.ts";
import { landUnattended, lifeOf, tookTooLong, usableNow } from "./staleness.ts";
import { urlKey } from "./url-key.ts";

/** Called when an answer is ready; wraps its body to see it end. */
export type Finish = (x: Exchange, response: ViewerResponse) => ViewerResponse;

/** The phases of an edge, bound to its state. */
export class Pipeline {
  readonly #context: EdgeContext;
  readonly #finish: Finish;
  readonly #onBug: (error: unknown) => void;

  constructor(context: EdgeContext, finish: Finish, onBug: (error: unknown) => void) {
    this.#context = context;
    this.#finish = finish;
    this.#onBug = onBug;
  }

  /** Answers one request. Synchronous for a plain hit; never throws or rejects. */
  readonly handle: RequestHandler = (request) => {
    const context = this.#context;
    const x = new Exchange(request, context.clock.now());
    try {
      const refused = receive(x, context.settings, context.clock);
      if (refused === null && isPurge(x, context)) return this.#settle(x, answerPurge(x, context));
      const made = refused ?? route(x, context.snapshot, context.settings);
      if (made !== null) return this.#made(x, made);
      const routed = x as RoutedExchange;
      if (request.http3 && !routed.site.http3) return this.#misdirected(x);
      if (isWebSocket(request)) return this.#upgrade(routed);
      if (x.askedSequence !== null && !this.#hasApplied(x, x.askedSequence))
        return this.#settle(x, this.#behind(routed, x.askedSequence));
      const bypass = bypassReason(routed);
      if (bypass !== null) return this.#settle(x, this.#pass(routed, bypass));
      makeKey(routed);
      const entry = context.purges.find(x.base, x.secondary, request.fields);
      if (entry !== null && !mayUse(routed, entry.freshness))
        return this.#settle(x, this.#pass(routed, "request-cookie"));
      const { mustValidate } = context.settings.fleet;
      if (
        entry !== null &&
        x.startMs < entry.freshness.freshUntilMs &&
        entry.large === null &&
        !mustValidate
      ) {
        const answer = this.#hit(routed, entry);
        return answer instanceof Promise ? this.#settle(x, answer) : this.#finish(x, answer);
      }
      return this.#cacheable(routed);
    } catch (error) {
      return this.#bug(x, error);
    }
  };

  #hit(x: RoutedExchange, entry: StoredResponse): ViewerResponse | Promise<ViewerResponse> {
    this.#context.store.hit(entry);
    x.end("hit", "fresh");
    const answer = deliverStored(x, entry, x.startMs, this.#context);
    if (entry.status < 400) return answer;
    return Promise.resolve(answer).then((response) => this.#errorPage(x, response));
  }

  /** What the edge itself answers; an error page may stand for it. */
  #made(x: Exchange, response: ViewerResponse): ViewerResponse | Promise<ViewerResponse> {
    if (response.status < 400 || x.site === null || x.site.errorPages.size === 0)
      return this.#finish(x, response);
    return this.#settle(x, this.#errorPage(x, response));
  }

  /** Waits for an answer, turning what went wrong into one. */
  async #settle(x: Exchange, pending: Promise<ViewerResponse>): Promise<ViewerResponse> {
    try {
      return this.#finish(x, await pending);
    } catch (error) {
      return this.#bug(x, error);
    }
  }

  #bug(x: Exchange, error: unknown): ViewerResponse {
    this.#onBug(error);
    x.end("bypass", "origin-error");
    return this.#finish(
      x,
      madeAnswer(x, this.#context.settings, {
        status: 500,
        message: "The edge failed to answer this request.",
      }),
    );
  }

  /** HTTP/3 is off for this site: the viewer comes back over TCP. */
  #misdirected(x: Exchange): ViewerResponse {
    const answer = madeAnswer(x, this.#context.settings, {
      status: 421,
      message: "This site is not served over HTTP/3.",
    });
    answer.fields.set("alt-svc", "clear");
    return this.#finish(x, answer);
  }

  #upgrade(x: RoutedExchange): UpgradeResponse | ViewerResponse {
    x.end("bypass", "request-upgrade");
    const outcome = upgrade(x, this.#context);
    if (!("kind" in outcome)) return this.#finish(x, outcome);
    return { ...outcome, refused: (error) => this.#finish(x, outcome.refused(error)) };
  }

  // ---- an edge asks, who may have applied more of the fleet's log than this node ----

  /** Has this node applied what the edge has? What it gives then is valid up to there at least. */
  #hasApplied(x: Exchange, asked: number): boolean {
    const { applied } = this.#context.purges;
    x.validSequence = applied;
    return applied >= asked;
  }

  /** Catches up first; where that takes too long nothing stored here is used. */
  async #behind(x: RoutedExchange, asked: number): Promise<ViewerResponse> {
    const bypass = bypassReason(x);
    if (bypass !== null) return this.#pass(x, bypass);
    makeKey(x);
    if (await this.#context.purges.caughtUp(asked)) {
      this.#hasApplied(x, asked);
      return this.#cacheable(x);
    }
    x.end("bypass", "log-behind");
    x.forwarded = "bypass";
    // The origin is asked after the edge has applied it.
    x.validSequence = asked;
    return this.#passCacheable(x, true);
  }

  // ---- what does not use the cache ----

  async #pass(x: RoutedExchange, reason: Exchange["reason"]): Promise<ViewerResponse> {
    x.end("bypass", reason);
    x.forwarded = reason === "request-method" ? "method" : "bypass";
    let response: ViewerResponse;
    try {
      response = await deliverPass(x, this.#context, { cacheable: false, keepRange: true });
      if (isUnsafe(x.method) && response.status >= 200 && response.status < 400)
        await this.#invalidate(x, x.originFields ?? response.fields);
    } catch (error) {
      response = errorAnswer(x, this.#context, error);
    }
    return this.#errorPage(x, response);
  }

  /** An unsafe request that succeeded makes what is stored for its URL invalid (RFC 9111 section 4.4). */
  async #invalidate(x: RoutedExchange, fields: Fields): Promise<void> {
    makeKey(x);
    const keys = [x.base];
    for (const name of ["location", "content-location"]) {
      const key = this.#sameHostKey(x, fields.get(name));
      if (key !== null) keys.push(key);
    }
    // RFC 9875 section 3: groups of the same host, whatever URL they are stored for.
    const groups = readGroups(fields.get("cache-group-invalidation"));
    const invalidation = { keys, site: x.site.id, tags: groups.map((group) => groupTag(group, x.authority)) };
    const { peers, purges } = this.#context;
    // Every worker of the node has forgotten before the viewer has its answer.
    if (peers === null) purges.invalidate(invalidation);
    else await peers.broadcast({ kind: "invalidate", ...invalidation });
  }

  /** The base key of a URL on the same host, as a GET for it would make it; null for any other host. */
  #sameHostKey(x: RoutedExchange, value: string | null): string | null {
    if (value === null) return null;
    const url = URL.parse(value, `${x.scheme}://${x.authority}${x.path}`);
    if (url === null || url.host !== new URL(`${x.scheme}://${x.authority}`).host) return null;
    url.protocol = x.scheme;
    return urlKey(x.site, url);
  }

  // ---- what does ----

  /** Looks it up, fetches it if need be, and finishes the answer. */
  async #cacheable(x: RoutedExchange): Promise<ViewerResponse> {
    try {
      const response = await this.#lookup(x);
      return this.#finish(x, response.status < 400 ? response : await this.#errorPage(x, response));
    } catch (error) {
      return this.#bug(x, error);
    }
  }

  async #lookup(x: RoutedExchange): Promise<ViewerResponse> {
    const context = this.#context;
    for (let attempt = 0; attempt <= VARIANT_RESTARTS_MAX; attempt++) {
      const nowMs = context.clock.now();
      const found = findStored(x, context);
      const entry = found instanceof Promise ? await found : found;
      const url = context.store.get(x.base);
      if (entry !== null && !mayUse(x, entry.freshness)) return this.#unusable(x);
      const use = entry === null ? null : usableNow(x, entry, context, nowMs);
      if (entry !== null && use !== null) {
        context.store.hit(entry);
        if (use.refresh) this.refresh(x, entry, nowMs);
        x.end(use.result, use.reason);
        x.forwarded = undefined;
        const answer = await this.#deliver(x, entry);
        if (answer !== null) return answer;
        continue;
      }
      // With an owner elsewhere, what is stored for the node is not all here.
      const elsewhere = context.peers !== null && context.peers.slotOf(x.base) !== context.peers.slot;
      const onlyIfCached = parseCacheControl(x.request.fields.get("cache-control")).onlyIfCached;
      if (onlyIfCached && (!elsewhere || entry !== null)) return this.#onlyIfCached(x);
      endUnfresh(x, url, entry);
      const onlyStored = onlyIfCached || (x.method === "HEAD" && entry === null);
      // A HEAD fetches no body that nobody asked for.
      if (onlyStored && !elsewhere) return this.#passCacheable(x, false);
      const pass = url?.pass ?? null;
      const passing = pass !== null && nowMs < pass.untilMs;
      const ranged = x.request.fields.has("range");
      // The origin cuts a range of what is not stored better than we do.
      if (passing && (pass.reason === "response-too-large" || elsewhere || ranged)) {
        x.end("bypass", pass.reason);
        return this.#passCacheable(x, true);
      }
      // What has to be validated for each request is not waited for together; an owner heeds ranges and conditions for each.
      const own = elsewhere && (ranged || (entry === null && isConditional(x.request.fields)));
      const alone = passing || onlyStored || (entry !== null && !entry.reusable) || own;
      const shared = x.behavior.collapse && !alone;
      const underway = shared ? underwayFor(x, context, entry) : null;
      if (typeof underway === "string" && elsewhere) {
        x.end("bypass", underway);
        return this.#passCacheable(x, true);
      }
      const flight = this.#fly(x, entry, underway, shared);
      if (entry !== null && (await tookTooLong(x, entry, flight, context))) {
        x.end("stale", "origin-slow");
        const answer = await this.#deliver(x, entry);
        if (answer !== null) return answer;
        continue;
      }
      const landed = this.#land(x, entry, await flight);
      const response = landed instanceof Promise ? await landed : landed;
      if (response !== null) return response;
      x.collapsed = false;
    }
    return this.#passCacheable(x, false);
  }

  /** Joins the flight for this object, or starts one: its own where what is under way is not to be waited for. */
  #fly(
    x: RoutedExchange,
    entry: StoredResponse | null,
    underway: ReturnType<typeof underwayFor>,
    shared: boolean,
  ): Promise<FlightOutcome> {
    if (underway === null || typeof underway === "string")
      return startFlight(x, this.#context, entry, shared && underway === null).outcome;
    x.collapsed = true;
    return underway.outcome;
  }

  /** What a flight's outcome is to one viewer; null when it does not fit and the viewer has to look again. */
  #land(
    x: RoutedExchange,
    entry: StoredResponse | null,
    outcome: FlightOutcome,
  ): ViewerResponse | null | Promise<ViewerResponse | null> {
    const context = this.#context;
    const tier = outcome.kind === "response" || outcome.kind === "freshened" ? (outcome.tier ?? null) : null;
    if (tier !== null) {
      // The viewer is told what the cache of the node did, not that of this worker.
      x.end(tier.result, tier.reason);
      x.forwarded = tier.forwarded;
    }
    switch (outcome.kind) {
      case "pass":
        return this.#landPass(x, outcome.reason);
      case "freshened": {
        if (x.collapsed && entry !== outcome.entry) return null;
        if (x.collapsed && !outcome.reusable) return this.#validate(x, entry);
        if (tier === null) x.end("revalidated", "not-modified");
        return this.#deliver(x, outcome.entry);
      }
      case "large":
        // Each reads it for himself, where he likes; who did not begin it finds it stored.
        if (x.collapsed) return null;
        x.stored = true;
        return this.#deliver(x, outcome.entry);
      case "stale":
      case "error": {
        const nowMs = context.clock.now();
        if (entry !== null && nowMs < lifeOf(x, entry, context, nowMs).ifErrorUntilMs) {
          x.end("stale", "stale-if-error");
          return this.#deliver(x, entry);
        }
        if (outcome.kind === "stale") return null;
        return errorAnswer(x, context, outcome.error);
      }
      case "response":
        return this.#landResponse(x, entry, outcome);
    }
  }

  /** Answers from a stored response; null when it is a large one whose version is gone, and the viewer has to look again. */
  async #deliver(x: RoutedExchange, entry: StoredResponse): Promise<ViewerResponse | null> {
    const context = this.#context;
    const { large } = entry;
    if (large === null) return deliverStored(x, entry, context.clock.now(), context);
    try {
      const answer = await deliverLarge(x, entry, large, context);
      if (answer === null) context.store.remove(entry);
      return answer;
    } catch (error) {
      return errorAnswer(x, context, error);
    }
  }

  #onlyIfCached(x: RoutedExchange): ViewerResponse {
    x.end("miss", "only-if-cached");
    return madeAnswer(x, this.#context.settings, {
      status: 504,
      message: "Nothing fresh is stored for this URL, and only a stored answer was asked for.",
    });
  }

  /** The owner of the key has nothing to give: the origin is asked for this viewer alone. */
  #landPass(x: RoutedExchange, reason: CacheReason): ViewerResponse | Promise<ViewerResponse> {
    x.collapsed = false;
    if (reason === "not-stored")
      return parseCacheControl(x.request.fields.get("cache-control")).onlyIfCached
        ? this.#onlyIfCached(x)
        : this.#passCacheable(x, true);
    x.end("bypass", reason);
    if (reason === "request-cookie") x.forwarded = "bypass";
    return this.#passCacheable(x, true);
  }

  #landResponse(
    x: RoutedExchange,
    entry: StoredResponse | null,
    outcome: FlightResponse,
  ): ViewerResponse | null | Promise<ViewerResponse | null> {
    const context = this.#context;
    const { storage } = outcome;
    if (!storage.store) {
      x.end("bypass", storage.reason);
      if (storage.reason === "response-too-large" && x.request.fields.has("range") && !x.collapsed) {
        outcome.fill.abandon();
        return this.#passCacheable(x, true);
      }
      // Those who waited go on their own, all at once; an error is shared, or a dying origin would get them all.
      if (x.collapsed && !(outcome.reusable && fits(x, outcome, this.#context)))
        return this.#passCacheable(x, storage.reason === "response-too-large");
      return deliverFlight(x, context, outcome);
    }
    if (x.collapsed && !mayUse(x, storage.freshness)) return this.#unusable(x);
    if (x.collapsed && !outcome.reusable) return this.#alone(x, outcome);
    // What is too large for a copy here the owner streams to each viewer for itself.
    if (x.collapsed && outcome.tier !== null && !outcome.fill.retained) return this.#validate(x, entry);
    if (x.collapsed && !fits(x, outcome, this.#context)) return null;
    x.stored = !x.collapsed && (outcome.tier?.stored ?? true);
    return deliverFlight(x, context, outcome);
  }

  /** The answer that others waited for has to be validated for each of them: all at once, not one by one. */
  async #alone(x: RoutedExchange, shared: FlightResponse): Promise<ViewerResponse | null> {
    // A body that takes its time is not waited for: without it the origin is asked for the whole.
    const entry = shared.storage.store
      ? await within(shared.settled, WHOLE_BODY_WAIT_MS, this.#context.clock)
      : null;
    return this.#validate(x, entry !== null && fits(x, shared, this.#context) ? entry : null);
  }

  /** Asks the origin for this viewer alone, on the condition of what is stored. */
  async #validate(x: RoutedExchange, entry: StoredResponse | null): Promise<ViewerResponse | null> {
    x.collapsed = false;
    return this.#land(x, entry, await startFlight(x, this.#context, entry, false).outcome);
  }

  /** What others get says nothing about this viewer, whose cookies the origin has to see. */
  #unusable(x: RoutedExchange): Promise<ViewerResponse> {
    x.end("bypass", "request-cookie");
    x.forwarded = "bypass";
    x.collapsed = false;
    return this.#passCacheable(x, false);
  }

  /** A request for something cacheable that is fetched for this viewer alone and not stored. */
  async #passCacheable(x: RoutedExchange, keepRange: boolean): Promise<ViewerResponse> {
    try {
      if (keepRange && x.request.fields.has("range")) x.end("bypass", "request-range");
      return await deliverPass(x, this.#context, { cacheable: true, keepRange });
    } catch (error) {
      return errorAnswer(x, this.#context, error);
    }
  }

  /** Fetches a stale response anew while it is still served; one flight, and a pause after a failure. */
  refresh(x: RoutedExchange, entry: StoredResponse, nowMs: number): void {
    const context = this.#context;
    if (nowMs < entry.refreshNotBeforeMs || context.flights.find(x.base, flightKey(x, context)) !== undefined)
      return;
    const copy = Object.assign(new Exchange(x.request, nowMs, true), x, {
      forwarded: "stale" as const,
      refreshing: true,
    }) as RoutedExchange;
    void startFlight(copy, context, entry, true).outcome.then((outcome) =>
      landUnattended(context, entry, outcome),
    );
  }

  // ---- error pages ----

  /** The site's page for an error, fetched like any other URL of the site; the error as it is when that fails. */
  async #errorPage(x: Exchange, response: ViewerResponse): Promise<ViewerResponse> {
    const { site } = x;
    if (response.status < 400 || site === null || x.internal || x.fromEdge) return response;
    if (x.method !== "GET" && x.method !== "HEAD") return response;
    const page =
      site.errorPages.get(String(response.status)) ??
      site.errorPages.get(`${Math.floor(response.status / 100)}xx`);
    if (page === undefined) return response;
    const inner = new Exchange(pageRequest(x), this.#context.clock.now(), true);
    inner.method = "GET";
    inner.scheme = x.scheme;
    inner.authority = x.authority;
    inner.hostname = x.hostname;
    inner.forwardedClient = x.forwardedClient;
    inner.path = page.path;
    const behavior = behaviorFor(site, page.path);
    if (behavior === null) return response;
    inner.site = site;
    inner.behavior = behavior;
    inner.originPath = originPath(site, behavior, page.path);
    const routed = inner as RoutedExchange;
    let found: ViewerResponse;
    if (bypassReason(routed) === null) {
      makeKey(routed);
      found = await this.#lookup(routed);
    } else {
      found = await this.#pass(routed, "behavior-no-cache");
    }
    if (found.status !== 200) {
      cancelBody(found);
      return response;
    }
    cancelBody(response);
    if (x.method === "HEAD") cancelBody(found);
    const fields = found.fields.clone();
    for (const name of ["etag", "last-modified", "accept-ranges", "expires", "age"]) fields.delete(name);
    for (const name of ["cache-status", "x-cache", "proxy-status", "cache-control"]) {
      const value = response.fields.get(name);
      if (value === null) fields.delete(name);
      else fields.set(name, value);
    }
    return { status: page.status ?? response.status, fields, body: x.method === "HEAD" ? null : found.body };
  }
}

function isConditional(fields: FieldReader): boolean {
  return fields.has("if-none-match") || fields.has("if-modified-since");
}

function cancelBody(response: ViewerResponse): void {
  const { body } = response;
  if (body !== null && !(body instanceof Uint8Array) && !(body instanceof Blob)) body.cancel();
}

/** The viewer's request, as far as an error page may depend on it. */
function pageRequest(x: Exchange): ViewerRequest {
  const fields = new Fields();
  for (const name of ["host", "accept", "accept-language", "accept-encoding", "user-agent"]) {
    const value = x.request.fields.get(name);
    if (value !== null) fields.append(name, value);
  }
  return {
    method: "GET",
    scheme: x.request.scheme,
    http3: x.request.http3,
    url: x.request.url,
    fields,
    peerAddress: x.request.peerAddress,
    body: () => null,
    signal: x.request.signal,
  };
}

/** Methods that are defined as safe (RFC 9110 section 9.2.1); every other one invalidates. */
function isUnsafe(method: string): boolean {
  return !["GET", "HEAD", "OPTIONS", "TRACE", "QUERY", "PROPFIND", "REPORT", "SEARCH"].includes(method);
}

/** One viewer's request on its way through the phases: what is known of it so far. */
import type { BehaviorPlan, SitePlan } from "../config/plan.ts";
import type { CacheStatusMember } from "../http/cache-status.ts";
import type { Fields } from "../http/fields.ts";
import type { CacheReason, CacheResult, ViewerRequest } from "./message.ts";

/** What the next hop did for an exchange. */
export interface UpstreamTrace {
  readonly name: string;
  /** Null when no response came. */
  readonly status: number | null;
  readonly durationMs: number;
  readonly reused: boolean;
  /** What went wrong, in one sentence that begins with the error's code: for the log, it may name addresses. */
  readonly error: string | null;
  /** What shields said in Cache-Status of how they came by the answer. */
  readonly cacheStatus?: string;
}

/** The state of one request; each phase fills in its part. */
export class Exchange {
  readonly request: ViewerRequest;
  readonly startMs: number;
  method: string;
  // receive
  scheme: "http" | "https";
  authority = "";
  hostname = "";
  path = "/";
  query: string | null = null;
  /** The viewer that trusted proxies speak for; null when the peer itself is the viewer. */
  forwardedClient: string | null = null;
  // route
  site: SitePlan | null = null;
  behavior: BehaviorPlan | null = null;
  /** Path after rewrites: what the key and the origin get. */
  originPath = "/";
  // key
  keyQuery: string | null = null;
  base = "";
  secondary = "";
  // outcome
  result: CacheResult = "bypass";
  reason: CacheReason = "answered-at-edge";
  forwarded: CacheStatusMember["fwd"] = undefined;
  collapsed = false;
  /** The same at the worker that owns the key. */
  collapsedAtOwner = false;
  stored = false;
  upstream: UpstreamTrace | null = null;
  /** What the origin said in an answer for this viewer alone, before it was made the viewer's. */
  originFields: Fields | null = null;
  /** An edge asks this node as its shield: what follows is not for viewers, and no shield is asked. */
  fromEdge = false;
  /** The newest purge that the edge which asks has applied, in the log that this node follows too; null for others. */
  askedSequence: number | null = null;
  /** Up to which entry of that log the answer is valid. */
  validSequence: number | null = null;
  /** Another worker of this node asks for its viewer: an owner never asks an owner. */
  fromPeer = false;
  /** The worker that owns the key was down: what comes is not kept for long. */
  ownerless = false;
  /** Behind the viewers' backs: what is stored is fetched anew while it is still served. */
  refreshing = false;
  /** True for a request that the edge makes of itself, such as for an error page. */
  readonly internal: boolean;

  constructor(request: ViewerRequest, nowMs: number, internal = false) {
    this.request = request;
    this.startMs = nowMs;
    this.method = request.method;
    this.scheme = request.scheme;
    this.internal = internal;
  }

  /** Address of the viewer. */
  get client(): string {
    return this.forwardedClient ?? this.request.peerAddress;
  }

  /** Name of the origin to ask: the behaviour's; one by the viewer's country would be chosen here. */
  get origin(): string {
    return this.behavior?.origin ?? "";
  }

  /** Sets how the request ends. */
  end(result: CacheResult, reason: CacheReason): void {
    this.result = result;
    this.reason = reason;
  }
}

/** An exchange that has been routed. */
export type RoutedExchange = Exchange & { site: SitePlan; behavior: BehaviorPlan };

/**
 * One route of the API: what the router, the checks before it, the OpenAPI document and the docs page are
 * all made from.
 */
import type * as z from "zod";
import type { Actor } from "../audit.ts";
import { forbiddenHost, type HostRights } from "../host-claims.ts";
import type { ControlParts } from "../parts.ts";
import { Refused } from "../refusal.ts";
import type { Scope } from "../tokens.ts";

/** Who may call: holders of one of the scopes, or nodes. */
export type Access = Scope | "node";

/** Who calls, once that is known. */
export class Caller {
  readonly actor: Actor;
  /** Id of the node, when it is one. */
  readonly node: string | null;
  /** Sites that the caller has a say over; null for all. */
  readonly sites: readonly string[] | null;
  /** What its token says of hosts; null without a token. */
  readonly rights: HostRights | null;

  constructor(actor: Actor, node: string | null, rights: HostRights | null) {
    this.actor = actor;
    this.node = node;
    this.sites = rights?.sites ?? null;
    this.rights = rights;
  }

  /** Throws a Refused 403 for a site that is none of the caller's business, whether it is there or not. */
  mustReach(site: string): void {
    if (this.sites !== null && !this.sites.includes(site))
      throw new Refused(
        403,
        `the token is not for site "${site.slice(0, 100)}"; it is for ${this.sites.join(", ")}`,
      );
  }

  /** Throws a Refused 403 for hosts that the caller may not give to a site, which has `owned` already. */
  mustClaim(site: string, hosts: readonly string[], owned: readonly string[]): void {
    const host = this.rights === null ? null : forbiddenHost(this.rights, hosts, owned);
    if (host === null) return;
    const named = this.rights?.hosts ?? [];
    throw new Refused(
      403,
      `the token may not claim host "${host}" for site "${site}": it may claim ${named.length === 0 ? (this.sites === null ? 'any but "*"' : "none but what the site has") : named.join(", ")}; who may do everything can make one that may (hosts)`,
    );
  }
}

/** A call of a route, everything checked. */
export interface Call<Body, Query> {
  readonly caller: Caller;
  readonly parts: ControlParts;
  readonly params: Readonly<Record<string, string>>;
  readonly query: Query;
  readonly body: Body;
  readonly fields: Headers;
  readonly address: string;
  /** Aborted when the caller has gone or the control plane ends. */
  readonly signal: AbortSignal;
}

/** A JSON body with the bytes that it was read from: what a signature is of. */
export interface RawBody {
  readonly bytes: Uint8Array;
  readonly value: unknown;
}

/** What a route answers. */
export interface Reply {
  readonly status?: number;
  /** Left out: no body. */
  readonly value?: unknown;
  /** In place of a value: JSON text as it is. */
  readonly text?: string;
  readonly fields?: Readonly<Record<string, string>>;
  /** What the audit log says of it. */
  readonly audit?: {
    readonly target: string;
    readonly detail?: string;
    /** Who did it, where that is known by other means than a token. */
    readonly actor?: string;
  };
}

/** A route. */
export interface Route {
  readonly method: "GET" | "POST" | "PUT" | "DELETE";
  /** As in OpenAPI: `/v1/sites/{site}`. */
  readonly path: string;
  readonly group: string;
  readonly summary: string;
  readonly access: readonly Access[];
  /** About the whole fleet: a token for some sites may not. */
  readonly fleetWide: boolean;
  /** Name in the audit log; a route that has one changes something, in one transaction. */
  readonly action: string | null;
  /** The answer holds a secret: it is not kept for a repeated request. */
  readonly secret: boolean;
  readonly body: z.ZodType | null;
  readonly bodyBytesMax: number;
  /** The body is checked by the route, which has its bytes too (`RawBody`). */
  readonly raw: boolean;
  readonly query: z.ZodType | null;
  readonly answer: z.ZodType | null;
  readonly status: number;
  readonly run: (call: Call<unknown, unknown>) => Reply | Promise<Reply>;
  /** What is answered in the end, once what was done is safe; the same for a repeated request. */
  readonly finish: ((call: Call<unknown, unknown>, value: unknown) => Promise<unknown>) | null;
}

/** A route as written; what is left out is the usual. */
export interface RouteSketch<B extends z.ZodType, Q extends z.ZodType> {
  readonly method: Route["method"];
  readonly path: string;
  readonly group: string;
  readonly summary: string;
  readonly access: readonly Access[];
  readonly fleetWide?: boolean;
  readonly action?: string;
  readonly secret?: boolean;
  readonly body?: B;
  readonly bodyBytesMax?: number;
  readonly raw?: boolean;
  readonly query?: Q;
  readonly answer?: z.ZodType;
  readonly status?: number;
  readonly run: (call: Call<z.output<B>, z.output<Q>>) => Reply | Promise<Reply>;
  readonly finish?: (call: Call<z.output<B>, z.output<Q>>, value: unknown) => Promise<unknown>;
}

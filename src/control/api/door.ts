/**
 * The door of the control plane: who calls, how often, and what of a refusal goes where. The API and the
 * vendors' APIs go through the same one, so that a token has one rate and one trace in the audit log
 * whatever language it is used in.
 */
import type { Actor } from "../audit.ts";
import type { HostRights } from "../host-claims.ts";
import {
  NODE_BURST,
  NODE_PER_SECOND,
  READS_BURST,
  READS_PER_SECOND,
  REFUSALS_BURST,
  REFUSALS_PER_SECOND,
  WRITES_BURST,
  WRITES_PER_SECOND,
} from "../limits.ts";
import type { ControlParts } from "../parts.ts";
import { Rates } from "../rates.ts";
import { Refused } from "../refusal.ts";
import type { Scope, Token } from "../tokens.ts";
import { Caller } from "./route.ts";

/** A request that came in, with the address it came from. */
export interface Incoming {
  readonly request: Request;
  readonly address: string;
}

/** Who came with an API token. */
export class TokenCaller extends Caller {
  readonly scopes: readonly Scope[];

  constructor(actor: Actor, rights: HostRights) {
    super(actor, null, rights);
    this.scopes = rights.scopes;
  }
}

/** Who has shown nothing that is known. */
export function nobody(address: string): Caller {
  return new Caller({ id: "nobody", name: "", address }, null, null);
}

/** Who came with a token that is good. */
export function callerOf(token: Token, address: string): TokenCaller {
  return new TokenCaller({ id: `token:${token.id}`, name: token.name, address }, token);
}

/** Authentication, rates, and notes of refusals. */
export class Door {
  readonly #parts: ControlParts;
  readonly #reads: Rates;
  readonly #writes: Rates;
  readonly #nodes: Rates;
  readonly #refusals: Rates;

  constructor(parts: ControlParts) {
    const { clock } = parts;
    this.#parts = parts;
    this.#reads = new Rates(clock, READS_PER_SECOND, READS_BURST);
    this.#writes = new Rates(clock, WRITES_PER_SECOND, WRITES_BURST);
    this.#nodes = new Rates(clock, NODE_PER_SECOND, NODE_BURST);
    this.#refusals = new Rates(clock, REFUSALS_PER_SECOND, REFUSALS_BURST);
  }

  /** Who a secret belongs to: a node or a token. Throws a Refused 401. */
  authenticate(secret: string, address: string): Caller {
    const node = this.#parts.nodes.verify(secret);
    if (node === "removed")
      throw unauthorized("this node was removed from the fleet", "the credential of a removed node");
    if (node !== null) return new Caller({ id: `node:${node.id}`, name: node.name, address }, node.id, null);
    const token = this.#parts.tokens.verify(secret);
    if (token === null)
      throw unauthorized(
        "the token is not known, has expired, or was revoked",
        this.#parts.tokens.describe(secret),
      );
    return callerOf(token, address);
  }

  /** Counts a request of a caller. Throws a Refused 429. */
  mustBeInRate(caller: Caller, isRead: boolean): void {
    const rates = caller.node !== null ? this.#nodes : isRead ? this.#reads : this.#writes;
    const wait = rates.take(caller.actor.id);
    if (wait > 0) throw tooMany(wait, "too many requests with this token");
  }

  /**
   * What is answered to a refused request, noted in the audit log where it is about a token, an attack or a
   * change. `action` is what was tried.
   */
  refuse(error: Refused, { request, address }: Incoming, actor: Actor, action: string): Refused {
    // Who has a good token is let in whatever others at the address do.
    const wait = error.status === 401 ? this.#refusals.take(address) : 0;
    const refused =
      wait > 0 ? tooMany(wait, "too many requests of this address were refused for their token") : error;
    const { status, message, members } = refused;
    // What is not there, or not so any more, is no refusal: readers ask for such things all day.
    const isRead = request.method === "GET" || request.method === "HEAD";
    if (!isRead || status === 401 || status === 403 || status === 429) {
      const { secretly } = members;
      const detail = `${status}: ${message}${typeof secretly === "string" ? ` (${secretly})` : ""}`;
      this.#parts.audit.refused(actor, action, pathOf(request.url), detail);
    }
    return refused;
  }
}

/** A refusal for want of a good credential; `secretly` is for the audit log alone. */
export function unauthorized(detail: string, secretly: string): Refused {
  return new Refused(401, detail, {
    members: { secretly },
    fields: { "www-authenticate": 'Bearer realm="proxima"' },
  });
}

/** A refusal for a time. */
export function tooMany(seconds: number, why: string): Refused {
  return new Refused(429, `${why}; try again in ${seconds} s`, {
    fields: { "retry-after": String(seconds) },
  });
}

/** The path of a request. */
export function pathOf(url: string): string {
  return URL.parse(url)?.pathname ?? "";
}

/**
 * The APIs of other CDNs on the control plane. A request goes through the same steps as one of our own API:
 * who calls, how often, may they, the body, then what it asks for in one transaction with its entry in the
 * audit log. Only the words differ, and those are each vendor's own file.
 */
import { randomBytes } from "node:crypto";
import { messageOf } from "../../base/errors.ts";
import type { PurgeOrder } from "../../cache/purge-request.ts";
import { parseJson, readBody } from "../api/body.ts";
import { callerOf, type Door, type Incoming, TokenCaller, unauthorized } from "../api/door.ts";
import type { Caller } from "../api/route.ts";
import type { Actor } from "../audit.ts";
import type { Batch } from "../batches.ts";
import { readOrder } from "../orders.ts";
import type { ControlParts } from "../parts.ts";
import type { FleetPurge } from "../purges.ts";
import { Refused } from "../refusal.ts";
import { allows, type Scope } from "../tokens.ts";
import { akamai } from "./akamai.ts";
import { bunny } from "./bunny.ts";
import { cloudflare } from "./cloudflare.ts";
import { cloudfront } from "./cloudfront.ts";
import { fastly } from "./fastly.ts";
import { ordersOf } from "./resolve.ts";
import { authenticateAws, authenticateEdgeGrid } from "./signed.ts";
import { SiteNames } from "./site-names.ts";
import type { KnownSite, Operation, Purged, Vendor, VendorAnswer, VendorRequest } from "./vendor.ts";

/** All of them. A path that two have is the first one's. */
export const vendors: readonly Vendor[] = [cloudflare, fastly, cloudfront, bunny, akamai];

/** How long an answer waits for the nodes, in milliseconds: who can not be reached is not waited for. */
const NODES_WAIT_MS = 3_000;

/** What the APIs stand on. */
export interface VendorsOptions {
  readonly parts: ControlParts;
  readonly door: Door;
  readonly onError: (message: string) => void;
  /** Fires when the control plane ends. */
  readonly signal: AbortSignal;
}

type PurgeOperation = Extract<Operation, { kind: "purge" }>;

/** The vendors' APIs. */
export class Vendors {
  readonly #options: VendorsOptions;
  readonly #names: SiteNames;

  constructor(options: VendorsOptions) {
    this.#options = options;
    this.#names = new SiteNames(options.parts);
  }

  /** The API that a request is of, by its path; null when it is of none. */
  of(request: Request): Vendor | null {
    const url = URL.parse(request.url);
    if (url === null) return null;
    const about = { query: url.searchParams, fields: request.headers };
    return vendors.find((vendor) => vendor.owns(url.pathname, about)) ?? null;
  }

  /** Answers a request in a vendor's shape. Never rejects. */
  async answer(vendor: Vendor, incoming: Incoming): Promise<Response> {
    const { request, address } = incoming;
    const { door, onError } = this.#options;
    let actor: Actor = { id: "nobody", name: "", address };
    try {
      const { caller, body } = await this.#enter(vendor, incoming);
      actor = caller.actor;
      const url = new URL(request.url);
      const asked: VendorRequest = {
        method: request.method,
        path: url.pathname,
        query: url.searchParams,
        search: url.search,
        fields: request.headers,
        body,
        json: vendor.bodyKind === "json" && body.length > 0 ? await parseJson(body) : undefined,
      };
      const operation = vendor.read(asked);
      if (operation === null)
        throw new Refused(404, `${request.method} ${url.pathname.slice(0, 200)} is not a call that is known`);
      mustBeAllowed(caller, operation.kind === "purge" ? "purge" : "read");
      return responseOf(await this.#perform(vendor, caller, operation, request.signal));
    } catch (error) {
      if (!(error instanceof Refused))
        onError(
          `control plane: ${vendor.name}: ${error instanceof Error ? (error.stack ?? messageOf(error)) : String(error)}`,
        );
      const refused =
        error instanceof Refused
          ? door.refuse(error, incoming, actor, `${vendor.name} ${request.method}`)
          : new Refused(500, "the control plane failed to answer; its log says why");
      return responseOf(vendor.refusal(refused, randomBytes(16).toString("hex")));
    }
  }

  /** Who calls, and the body: of a signed request the body is read first, since it is signed too. */
  async #enter(
    vendor: Vendor,
    { request, address }: Incoming,
  ): Promise<{ readonly caller: Caller; readonly body: Uint8Array }> {
    const { door, parts } = this.#options;
    const { credential } = vendor;
    const isRead = request.method === "GET" || request.method === "HEAD";
    if (credential.kind === "signature") {
      const body = await readBody(request, vendor.bodyBytesMax);
      const verify = credential.scheme === "aws4" ? authenticateAws : authenticateEdgeGrid;
      // Clients sign by the time of the machine, also where that of the fleet is moved.
      const token = verify(parts.tokens, request, body, parts.clock.steady.now());
      const caller = callerOf(token, address);
      door.mustBeInRate(caller, isRead);
      return { caller, body };
    }
    const secret = credential.read(request.headers);
    if (secret === null) throw unauthorized(`send an API token in ${credential.where}`, "no token");
    const caller = door.authenticate(secret, address);
    if (caller.node !== null) throw new Refused(403, "a node's credential is not for this");
    door.mustBeInRate(caller, isRead);
    return { caller, body: await readBody(request, vendor.bodyBytesMax) };
  }

  async #perform(
    vendor: Vendor,
    caller: Caller,
    operation: Operation,
    signal: AbortSignal,
  ): Promise<VendorAnswer> {
    switch (operation.kind) {
      case "purge":
        return await this.#purge(vendor, caller, operation, signal);
      case "purge-show": {
        const site = this.#names.find(operation.site, caller);
        const batch = this.#options.parts.batches.find(operation.id);
        if (batch === null || batch.site !== site.id || batch.vendor !== vendor.name)
          throw operation.onMissing();
        return operation.answer(this.#purged(batch, [site]));
      }
      case "purge-list": {
        const site = this.#names.find(operation.site, caller);
        const { after, limit } = operation;
        const found = this.#options.parts.batches.list(vendor.name, site.id, after, limit + 1);
        const purges = found.slice(0, limit).map((batch) => this.#purged(batch, [site]));
        return operation.answer(purges, found.length > limit);
      }
      case "site-list":
        return operation.answer(this.#names.all(caller));
      case "site-show":
        return operation.answer(this.#names.find(operation.id, caller));
      case "caller":
        return operation.answer(caller.actor.id);
    }
  }

  async #purge(
    vendor: Vendor,
    caller: Caller,
    operation: PurgeOperation,
    signal: AbortSignal,
  ): Promise<VendorAnswer> {
    const { parts } = this.#options;
    const { orders, sites } = ordersOf(operation, this.#names, caller);
    const { batch, isNew } = parts.database.transaction(() =>
      this.#order(vendor, caller, operation, sites, () =>
        orders.map((order) => readOrder(parts, caller, order)),
      ),
    );
    const { patience } = operation;
    const ended = AbortSignal.any([signal, this.#options.signal]);
    const view =
      patience === "none"
        ? parts.batches.view(batch)
        : await parts.batches.wait(batch, patience, NODES_WAIT_MS, ended);
    const answer = operation.answer(purgedOf(batch, view, sites), isNew);
    return { ...answer, fields: { "proxima-purge": batch.id, ...answer.fields } };
  }

  /** The order, its batch and its entry in the audit log; or the batch of the same order that was given before. */
  #order(
    vendor: Vendor,
    caller: Caller,
    operation: PurgeOperation,
    sites: readonly KnownSite[],
    read: () => readonly PurgeOrder[],
  ): { readonly batch: Batch; readonly isNew: boolean } {
    const { batches, purges, audit, clock } = this.#options.parts;
    const { reference, echo = "" } = operation;
    const only = sites.length === 1 ? (sites[0]?.id ?? null) : null;
    if (reference !== undefined && only !== null) {
      const known = batches.findReference(vendor.name, only, reference.name);
      if (known?.content === reference.content) return { batch: known, isNew: false };
      if (known !== null) throw reference.onConflict();
    }
    const made: FleetPurge[] = [];
    for (const order of read()) made.push(purges.create(order, caller.actor.id));
    const id = vendor.newId(randomBytes, clock.now());
    const { name = null, content = "" } = reference ?? {};
    const batch = batches.keep({ id, vendor: vendor.name, site: only, reference: name, content, echo }, made);
    const said = made.map(({ mode, scope, targetCount }) => `${mode} ${scope}, ${targetCount} targets`);
    audit.done(
      caller.actor,
      "purge",
      sites.map((site) => site.id).join(" "),
      `${vendor.name} ${id}: ${said.join("; ")}; sequence ${batch.sequence}`,
    );
    return { batch, isNew: true };
  }

  #purged(batch: Batch, sites: readonly KnownSite[]): Purged {
    return purgedOf(batch, this.#options.parts.batches.view(batch), sites);
  }
}

/** A batch that is so old that its purges are forgotten was done long ago. */
function purgedOf(batch: Batch, view: FleetPurge | null, sites: readonly KnownSite[]): Purged {
  const { id, acceptedMs, echo } = batch;
  return {
    id,
    sites,
    acceptedMs,
    echo,
    state: view?.state ?? "counted",
    objects: view?.objects ?? null,
  };
}

function mustBeAllowed(caller: Caller, scope: Scope): void {
  const scopes = caller instanceof TokenCaller ? caller.scopes : [];
  // Who may purge may see what came of it.
  if (allows(scopes, scope) || (scope === "read" && allows(scopes, "purge"))) return;
  throw new Refused(
    403,
    `this needs a token with the scope ${scope}; this one has ${scopes.join(", ") || "none"}`,
  );
}

function responseOf({ status, body, type, fields = {} }: VendorAnswer): Response {
  return new Response(body ?? null, {
    status,
    headers: { ...(type === undefined ? {} : { "content-type": type }), ...fields },
  });
}

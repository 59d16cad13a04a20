/**
 * The API: a request goes through the same steps whatever its route is. Who calls, how often, may they;
 * the body; then the route, in one transaction with its entry in the audit log when it changes something.
 * Whatever refuses throws a Refused, which becomes a problem document and, where it is about a token, an
 * attack or a change, an entry in the audit log.
 */
import { createHash } from "node:crypto";
import { type Context, Hono } from "hono";
import type * as z from "zod";
import { messageOf, ProximaError } from "../../base/errors.ts";
import { json, problem } from "../../service/problem.ts";
import type { Actor } from "../audit.ts";
import { IDEMPOTENCY_KEY_CHARS_MAX } from "../idempotent.ts";
import { POLLS_MAX } from "../limits.ts";
import type { ControlParts } from "../parts.ts";
import { Refused, titleOf } from "../refusal.ts";
import { allows, type Scope } from "../tokens.ts";
import { Vendors } from "../vendors/vendors.ts";
import { parseJson, readBody } from "./body.ts";
import { docsPage, STYLE_HASH } from "./docs-page.ts";
import { Door, type Incoming, nobody, pathOf, TokenCaller, tooMany, unauthorized } from "./door.ts";
import { openApiDocument } from "./openapi.ts";
import type { Call, Caller, RawBody, Reply, Route } from "./route.ts";
import { routes as everyRoute } from "./routes.ts";
import { clockRoutes } from "./routes-clock.ts";

const AUTHORIZATION_CHARS_MAX = 500;

/** The API of a control plane. */
export class Api {
  readonly #parts: ControlParts;
  readonly #onError: (message: string) => void;
  readonly #app = new Hono<{ Bindings: { incoming: Incoming } }>();
  readonly #door: Door;
  readonly #vendors: Vendors;
  readonly #closing = new AbortController();

  constructor(parts: ControlParts, onError: (message: string) => void) {
    this.#parts = parts;
    this.#onError = onError;
    this.#door = new Door(parts);
    this.#vendors = new Vendors({ parts, door: this.#door, onError, signal: this.#closing.signal });
    this.#addRoutes();
  }

  /** Answers a request. Never rejects. */
  async answer(incoming: Incoming): Promise<Response> {
    return await this.#app.fetch(incoming.request, { incoming });
  }

  /** The same in the languages of other CDNs. */
  get vendors(): Vendors {
    return this.#vendors;
  }

  /** Refuses a request before it is looked at, with an entry in the audit log. */
  refuse({ request, address }: Incoming, status: number, detail: string): Response {
    const { method, url } = request;
    this.#parts.audit.refused(
      { id: "nobody", name: "", address },
      `${method} ${pathOf(url)}`,
      "",
      `${status}: ${detail}`,
    );
    return problem(status, titleOf(status), detail);
  }

  /** Ends every wait: who waits is answered with what there is. */
  close(): void {
    this.#closing.abort();
  }

  #addRoutes(): void {
    const app = this.#app;
    const { fleetClock, version } = this.#parts;
    const routes = fleetClock === null ? everyRoute : [...everyRoute, ...clockRoutes(fleetClock)];
    const document = openApiDocument(routes, version);
    const page = docsPage(routes, version);
    app.get(
      "/healthz",
      () => new Response("ok\n", { headers: { "content-type": "text/plain; charset=utf-8" } }),
    );
    app.get("/openapi.json", () => json(document));
    app.get(
      "/docs",
      () =>
        new Response(page, {
          headers: {
            "content-type": "text/html; charset=utf-8",
            "content-security-policy": `default-src 'none'; style-src '${STYLE_HASH}'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'`,
          },
        }),
    );
    const methods = new Map<string, string[]>();
    for (const route of routes) {
      const path = route.path.replace(/\{(\w+)\}/g, ":$1");
      app.on(route.method, path, (context) => this.#dispatch(route, context));
      methods.set(path, [
        ...(methods.get(path) ?? []),
        ...(route.method === "GET" ? ["GET", "HEAD"] : [route.method]),
      ]);
    }
    for (const [path, allowed] of methods)
      app.all(path, () => {
        const list = allowed.join(", ");
        return problem(405, titleOf(405), `this resource knows ${list}`, { allow: list });
      });
    app.notFound(() => problem(404, titleOf(404), "there is no such resource; /docs lists them"));
    app.onError((error) => {
      this.#onError(
        `control plane: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
      );
      return problem(500, titleOf(500), "the control plane failed to answer; its log says why");
    });
  }

  async #dispatch(route: Route, context: Context<{ Bindings: { incoming: Incoming } }>): Promise<Response> {
    const { incoming } = context.env;
    const { request, address } = incoming;
    let actor: Actor = { id: "nobody", name: "", address };
    try {
      const caller = this.#authenticate(route, request, address);
      actor = caller.actor;
      this.#mustBeInRate(route, caller);
      this.#mustBeAllowed(route, caller);
      const query = parsed(route.query, Object.fromEntries(new URL(request.url).searchParams), "query");
      const body = await bodyOf(route, request);
      const call: Call<unknown, unknown> = {
        caller,
        parts: this.#parts,
        params: context.req.param() as Readonly<Record<string, string>>,
        query,
        body,
        fields: request.headers,
        address,
        signal: AbortSignal.any([request.signal, this.#closing.signal]),
      };
      const reply = route.action === null ? await route.run(call) : await this.#change(route, call);
      return this.#counted(route, answerOf(reply, route.status));
    } catch (error) {
      return this.#counted(route, this.#refused(error, route, incoming, actor));
    }
  }

  #counted(route: Route, response: Response): Response {
    this.#parts.meters.answered(`${route.method} ${route.path}`, response.status);
    return response;
  }

  /** Runs a route that changes something: the change, its audit entry and the kept answer are one transaction. */
  async #change(route: Route, call: Call<unknown, unknown>): Promise<Reply> {
    const { parts, caller } = call;
    const key = idempotencyKeyOf(route, call);
    const about = key === null ? "" : fingerprint(route, call);
    const reply = parts.database.transaction((): Reply => {
      const known = key === null ? null : parts.idempotent.find(caller.actor.id, key, about);
      // Written below, by `keep`.
      if (known !== null) return { ...(JSON.parse(known) as Reply), status: 200 };
      const made = route.run(call);
      if (made instanceof Promise) throw new Error(`${route.path} changes something and waits`);
      const actor =
        made.audit?.actor === undefined ? caller.actor : { ...caller.actor, id: made.audit.actor };
      parts.audit.done(actor, route.action ?? "", made.audit?.target ?? "", made.audit?.detail ?? "");
      if (key !== null) parts.idempotent.keep(caller.actor.id, key, about, JSON.stringify(made));
      return made;
    });
    return route.finish === null ? reply : { ...reply, value: await route.finish(call, reply.value) };
  }

  #authenticate(route: Route, request: Request, address: string): Caller {
    // A join token is looked at by its route.
    if (route.access.length === 0) return nobody(address);
    const field = request.headers.get("authorization");
    const bearer = /^bearer +(\S+)$/i.exec((field ?? "").slice(0, AUTHORIZATION_CHARS_MAX))?.[1];
    if (bearer === undefined)
      throw unauthorized(
        field === null
          ? "send Authorization: Bearer and a token"
          : "the Authorization field holds no bearer token",
        "no token",
      );
    return this.#door.authenticate(bearer, address);
  }

  #mustBeInRate(route: Route, caller: Caller): void {
    if (route.access.length === 0) return;
    this.#door.mustBeInRate(caller, route.method === "GET");
    if (route.path === "/v1/changes" && this.#parts.log.waiting >= POLLS_MAX)
      throw tooMany(1, "too many requests wait for changes");
  }

  #mustBeAllowed(route: Route, caller: Caller): void {
    if (route.access.length === 0) return;
    if (caller instanceof TokenCaller) {
      const needed = route.access.filter((access): access is Scope => access !== "node");
      if (!needed.some((scope) => allows(caller.scopes, scope)))
        throw new Refused(
          403,
          needed.length === 0
            ? "this is for nodes"
            : `this needs a token with the scope ${needed.join(" or ")}; this one has ${caller.scopes.join(", ")}`,
        );
      if (route.fleetWide && caller.sites !== null)
        throw new Refused(
          403,
          `this is about the whole fleet, and the token is for ${caller.sites.join(", ")}`,
        );
    } else if (!route.access.includes("node")) throw new Refused(403, "a node's credential is not for this");
  }

  #refused(error: unknown, route: Route, incoming: Incoming, actor: Actor): Response {
    const { request } = incoming;
    if (!(error instanceof Refused)) {
      const detail =
        error instanceof ProximaError
          ? error.message
          : "the control plane failed to answer; its log says why";
      this.#onError(
        `control plane: ${request.method} ${route.path}: ${error instanceof Error ? (error.stack ?? messageOf(error)) : String(error)}`,
      );
      return problem(500, titleOf(500), detail);
    }
    const action = route.action ?? `${request.method} ${route.path}`;
    const { status, message, fields, members } = this.#door.refuse(error, incoming, actor, action);
    const { secretly: _, ...shown } = members;
    return problem(status, titleOf(status), message, fields, shown);
  }
}

function idempotencyKeyOf(route: Route, { fields, body }: Call<unknown, unknown>): string | null {
  // A sender of messages is known by its signature, which this field is not part of.
  if (route.raw) return null;
  const inBody =
    typeof body === "object" && body !== null && "idempotencyKey" in body
      ? String(body.idempotencyKey)
      : null;
  const key = fields.get("idempotency-key") ?? inBody;
  if (key === null || route.method !== "POST") return null;
  if (route.secret)
    throw new Refused(400, "this answer holds a secret, which is not kept: it takes no Idempotency-Key");
  if (key === "" || key.length > IDEMPOTENCY_KEY_CHARS_MAX)
    throw new Refused(400, `an Idempotency-Key has 1 to ${IDEMPOTENCY_KEY_CHARS_MAX} characters`);
  return key;
}

function fingerprint(route: Route, { params, body }: Call<unknown, unknown>): string {
  return createHash("sha256")
    .update(JSON.stringify([route.method, route.path, params, body ?? null]))
    .digest("hex");
}

/** What a schema makes of a value; the first issue is the sentence, all of them are members. */
function parsed(schema: z.ZodType | null, value: unknown, what: string): unknown {
  if (schema === null) return undefined;
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issues = result.error.issues.slice(0, 20).map((issue) => ({
    path: [what, ...issue.path.map(String)].filter((step) => step !== "").join("."),
    message: issue.message,
  }));
  const [first] = issues;
  throw new Refused(400, `${first?.path || "the body"}: ${first?.message ?? "is not valid"}`, {
    members: { issues },
  });
}

/** What a route gets of a request's body. */
async function bodyOf(route: Route, request: Request): Promise<unknown> {
  if (route.body === null && !route.raw) return undefined;
  const bytes = await readBody(request, route.bodyBytesMax);
  const value = await parseJson(bytes);
  return route.raw ? ({ bytes, value } satisfies RawBody) : parsed(route.body, value, "");
}

function answerOf(reply: Reply, statusMade: number): Response {
  const status = reply.status ?? (reply.value === undefined && reply.text === undefined ? statusMade : 200);
  const fields = { ...reply.fields };
  if (reply.text !== undefined)
    return new Response(reply.text, { status, headers: { "content-type": "application/json", ...fields } });
  if (reply.value === undefined) return new Response(null, { status, headers: fields });
  return json(reply.value, reply.status ?? statusMade, fields);
}

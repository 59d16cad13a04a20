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
import { scanJson } from "../../config/json-text.ts";
import { json, problem } from "../../service/problem.ts";
import type { Actor } from "../audit.ts";
import type { HostRights } from "../host-claims.ts";
import { IDEMPOTENCY_KEY_CHARS_MAX } from "../idempotent.ts";
import {
  NODE_BURST,
  NODE_PER_SECOND,
  POLLS_MAX,
  READS_BURST,
  READS_PER_SECOND,
  REFUSALS_BURST,
  REFUSALS_PER_SECOND,
  WRITES_BURST,
  WRITES_PER_SECOND,
} from "../limits.ts";
import type { ControlParts } from "../parts.ts";
import { Rates } from "../rates.ts";
import { Refused, titleOf } from "../refusal.ts";
import { allows, type Scope } from "../tokens.ts";
import { docsPage, STYLE_HASH } from "./docs-page.ts";
import { openApiDocument } from "./openapi.ts";
import { type Call, Caller, type RawBody, type Reply, type Route } from "./route.ts";
import { routes } from "./routes.ts";

/** Longest time that a JSON body may hold the event loop in one go, in milliseconds. */
const SLICE_MS_MAX = 5;
const AUTHORIZATION_CHARS_MAX = 500;

/** A request that came in, with the address it came from. */
export interface Incoming {
  readonly request: Request;
  readonly address: string;
}

/** The API of a control plane. */
export class Api {
  readonly #parts: ControlParts;
  readonly #onError: (message: string) => void;
  readonly #app = new Hono<{ Bindings: { incoming: Incoming } }>();
  readonly #reads: Rates;
  readonly #writes: Rates;
  readonly #nodes: Rates;
  readonly #refusals: Rates;
  readonly #closing = new AbortController();

  constructor(parts: ControlParts, onError: (message: string) => void) {
    const { clock } = parts;
    this.#parts = parts;
    this.#onError = onError;
    this.#reads = new Rates(clock, READS_PER_SECOND, READS_BURST);
    this.#writes = new Rates(clock, WRITES_PER_SECOND, WRITES_BURST);
    this.#nodes = new Rates(clock, NODE_PER_SECOND, NODE_BURST);
    this.#refusals = new Rates(clock, REFUSALS_PER_SECOND, REFUSALS_BURST);
    this.#addRoutes();
  }

  /** Answers a request. Never rejects. */
  async answer(incoming: Incoming): Promise<Response> {
    return await this.#app.fetch(incoming.request, { incoming });
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
    const document = openApiDocument(routes, this.#parts.version);
    const page = docsPage(routes, this.#parts.version);
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
      const body = route.raw
        ? await readJson(request, route.bodyBytesMax)
        : parsed(
            route.body,
            route.body === null ? undefined : (await readJson(request, route.bodyBytesMax)).value,
            "",
          );
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
    const nobody = new Caller({ id: "nobody", name: "", address }, null, null);
    // A join token is looked at by its route.
    if (route.access.length === 0) return nobody;
    const field = request.headers.get("authorization");
    const bearer = /^bearer +(\S+)$/i.exec((field ?? "").slice(0, AUTHORIZATION_CHARS_MAX))?.[1];
    if (bearer === undefined)
      throw unauthorized(
        field === null
          ? "send Authorization: Bearer and a token"
          : "the Authorization field holds no bearer token",
        "no token",
      );
    const node = this.#parts.nodes.verify(bearer);
    if (node === "removed")
      throw unauthorized("this node was removed from the fleet", "the credential of a removed node");
    if (node !== null) return new Caller({ id: `node:${node.id}`, name: node.name, address }, node.id, null);
    const token = this.#parts.tokens.verify(bearer);
    if (token === null)
      throw unauthorized(
        "the token is not known, has expired, or was revoked",
        this.#parts.tokens.describe(bearer),
      );
    return new TokenCaller({ id: `token:${token.id}`, name: token.name, address }, token);
  }

  #mustBeInRate(route: Route, caller: Caller): void {
    if (route.access.length === 0) return;
    const rates = caller.node !== null ? this.#nodes : route.method === "GET" ? this.#reads : this.#writes;
    const wait = rates.take(caller.actor.id);
    if (wait > 0) throw tooMany(wait, "too many requests with this token");
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

  #refused(error: unknown, route: Route, { request, address }: Incoming, actor: Actor): Response {
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
    // Who has a good token is let in whatever others at the address do.
    const wait = error.status === 401 ? this.#refusals.take(address) : 0;
    const { status, message, fields, members } =
      wait > 0 ? tooMany(wait, "too many requests of this address were refused for their token") : error;
    // What is not there, or not so any more, is no refusal: readers ask for such things all day.
    const isRead = request.method === "GET" || request.method === "HEAD";
    const told = !isRead || status === 401 || status === 403 || status === 429;
    const { secretly, ...shown } = members;
    if (told) {
      const action = route.action ?? `${request.method} ${route.path}`;
      const detail = `${status}: ${message}${typeof secretly === "string" ? ` (${secretly})` : ""}`;
      this.#parts.audit.refused(actor, action, pathOf(request.url), detail);
    }
    return problem(status, titleOf(status), message, fields, shown);
  }
}

/** Who came with an API token. */
class TokenCaller extends Caller {
  readonly scopes: readonly Scope[];

  constructor(actor: Actor, rights: HostRights) {
    super(actor, null, rights);
    this.scopes = rights.scopes;
  }
}

function unauthorized(detail: string, secretly: string): Refused {
  return new Refused(401, detail, {
    members: { secretly },
    fields: { "www-authenticate": 'Bearer realm="proxima"' },
  });
}

function tooMany(seconds: number, why: string): Refused {
  return new Refused(429, `${why}; try again in ${seconds} s`, {
    fields: { "retry-after": String(seconds) },
  });
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

/** Reads a JSON body within its limit; what does not end in time is the server's matter. */
async function readJson(request: Request, bytesMax: number): Promise<RawBody> {
  const tooLarge = () => new Refused(413, `the body of this request has ${bytesMax} bytes at most`);
  if (Number(request.headers.get("content-length") ?? 0) > bytesMax) throw tooLarge();
  const pieces: Uint8Array[] = [];
  let size = 0;
  if (request.body !== null)
    for await (const piece of request.body) {
      size += piece.byteLength;
      if (size > bytesMax) throw tooLarge();
      pieces.push(piece);
    }
  const bytes = Buffer.concat(pieces);
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new Refused(400, "the body is not UTF-8");
  }
  // Also names that stand twice and values that nest without end, which a parser would take.
  const steps = scanJson(text);
  let sliceStart = performance.now();
  for (;;) {
    const step = steps.next();
    if (step.done === true) {
      const { fault } = step.value;
      if (fault === null) return { bytes, value: JSON.parse(text) as unknown };
      throw new Refused(
        400,
        `the body is not JSON: line ${fault.position.line}, column ${fault.position.column}: ${fault.message}`,
      );
    }
    if (performance.now() - sliceStart < SLICE_MS_MAX) continue;
    await new Promise<void>((resume) => setImmediate(resume));
    sliceStart = performance.now();
  }
}

function answerOf(reply: Reply, statusMade: number): Response {
  const status = reply.status ?? (reply.value === undefined && reply.text === undefined ? statusMade : 200);
  const fields = { ...reply.fields };
  if (reply.text !== undefined)
    return new Response(reply.text, { status, headers: { "content-type": "application/json", ...fields } });
  if (reply.value === undefined) return new Response(null, { status, headers: fields });
  return json(reply.value, reply.status ?? statusMade, fields);
}

function pathOf(url: string): string {
  return URL.parse(url)?.pathname ?? "";
}

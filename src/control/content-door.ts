/**
 * What the control plane's listener answers beside its API, since it is no JSON: content that comes in for a
 * push zone (`PUT /v1/zones/{zone}/content/{sha256}`), and content that nodes ask for (`GET
 * /v1/content/{zone}/...`). Both want a bearer token in a field that no page can set: that is what keeps
 * foreign pages out, as the content type does at the API.
 */
import { type BodyReader, joinBytes } from "../http/body.ts";
import { problem } from "../service/problem.ts";
import { FILE_BYTES_MAX } from "../storage/limits.ts";
import type { StorageResponse } from "../storage/message.ts";
import { StorageError } from "../storage/storage-error.ts";
import { NODE_BURST, NODE_PER_SECOND, REFUSALS_BURST, REFUSALS_PER_SECOND } from "./limits.ts";
import type { ControlParts } from "./parts.ts";
import { Rates } from "./rates.ts";
import { titleOf } from "./refusal.ts";
import { answerContent } from "./zones/content.ts";
import { principalOf } from "./zones/guard.ts";

/** Fields by which a node says what it asks for. */
export const AS_OF_FIELD = "proxima-as-of";
export const SITE_FIELD = "proxima-site";

/** Content of at most so many bytes is answered in one piece. */
const WHOLE_BYTES_MAX = 1024 * 1024;

/** The door. */
export class ContentDoor {
  readonly #parts: ControlParts;
  readonly #rates: Rates;
  readonly #refusals: Rates;

  constructor(parts: ControlParts) {
    this.#parts = parts;
    this.#rates = new Rates(parts.clock, 10 * NODE_PER_SECOND, 10 * NODE_BURST);
    this.#refusals = new Rates(parts.clock, REFUSALS_PER_SECOND, REFUSALS_BURST);
  }

  /** True when a request is for this door. */
  takes(request: Request): boolean {
    const { pathname } = new URL(request.url);
    return pathname.startsWith("/v1/content/") || /^\/v1\/zones\/[^/]+\/content\//.test(pathname);
  }

  /** Answers one. Never rejects. */
  async answer(request: Request, address: string): Promise<Response> {
    try {
      const { pathname } = new URL(request.url);
      return pathname.startsWith("/v1/content/")
        ? await this.#give(request, address)
        : await this.#take(request, pathname, address);
    } catch (error) {
      if (!(error instanceof StorageError)) throw error;
      const status = error.code === "unavailable" ? 503 : error.code === "too_large" ? 413 : 400;
      return problem(status, titleOf(status), error.message);
    }
  }

  async #take(request: Request, pathname: string, address: string): Promise<Response> {
    const { parts } = this;
    const [, name = "", hash = ""] = /^\/v1\/zones\/([^/]+)\/content\/([0-9a-f]{64})$/.exec(pathname) ?? [];
    const bearer = bearerOf(request);
    const token = bearer === null ? null : parts.tokens.verify(bearer);
    if (token === null)
      return this.#refuse(request, address, 401, "send Authorization: Bearer and a token that is good");
    const zone = parts.zones.zone(name);
    const who = principalOf(token);
    if (zone === null || !who.mayWrite(zone))
      return zone === null && token.sites === null
        ? problem(404, titleOf(404), "there is no such zone, or the name is no SHA-256")
        : this.#refuse(request, address, 403, "the token may not write to this zone");
    if (request.method !== "PUT")
      return problem(405, titleOf(405), "this resource knows PUT", { allow: "PUT" });
    const length = request.headers.get("content-length");
    await parts.zones.take(request.body === null ? null : readerOf(request.body), {
      bytesMax: FILE_BYTES_MAX,
      bytes: length === null ? null : Number(length),
      sha256: hash,
      checksums: [],
    });
    return new Response(null, { status: 204 });
  }

  async #give(request: Request, address: string): Promise<Response> {
    const { parts } = this;
    const bearer = bearerOf(request);
    const node = bearer === null ? null : parts.nodes.verify(bearer);
    if (node === null || node === "removed")
      return this.#refuse(request, address, 401, "this is for nodes of the fleet");
    const wait = this.#rates.take(node.id);
    if (wait > 0)
      return problem(429, titleOf(429), "too many requests of this node", { "retry-after": String(wait) });
    const target = request.url.slice(request.url.indexOf("/v1/content/") + "/v1/content".length);
    const [, name = "", rest = "/"] = /^\/([^/?]+)(\/.*)?$/.exec(target) ?? [];
    const zone = parts.zones.zone(name);
    const site = request.headers.get(SITE_FIELD);
    // Of another site: as if it were not there.
    if (zone === null || (zone.site !== null && zone.site !== site))
      return problem(404, titleOf(404), `there is no zone "${name.slice(0, 100)}" for this site`, {
        "proxima-no-zone": "1",
      });
    const asked = request.headers.get(AS_OF_FIELD);
    const answer = await answerContent(parts.zones, parts.zones.mustGet(name), {
      method: request.method,
      target: rest,
      fields: request.headers,
      asOf: asked !== null && /^\d{1,16}$/.test(asked) ? Number(asked) : null,
    });
    return new Response(await bodyOf(answer), {
      status: answer.status,
      headers: [...answer.fields.entries()],
    });
  }

  get parts(): ControlParts {
    return this.#parts;
  }

  #refuse(request: Request, address: string, status: 401 | 403, detail: string): Response {
    const path = new URL(request.url).pathname.slice(0, 200);
    this.#parts.audit.refused(
      { id: "nobody", name: "", address },
      `${request.method} ${path}`,
      "",
      `${status}: ${detail}`,
    );
    const wait = this.#refusals.take(address);
    if (wait > 0)
      return problem(429, titleOf(429), "too many requests of this address were refused", {
        "retry-after": String(wait),
      });
    return problem(status, titleOf(status), detail, status === 401 ? { "www-authenticate": "Bearer" } : {});
  }
}

function bearerOf(request: Request): string | null {
  return /^bearer +(\S+)$/i.exec((request.headers.get("authorization") ?? "").slice(0, 500))?.[1] ?? null;
}

/** What fits into memory goes with its length, which the runtime leaves out of every stream. */
async function bodyOf({
  fields,
  body,
}: StorageResponse): Promise<Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array> | null> {
  if (body === null) return null;
  if (body instanceof Uint8Array) return new Uint8Array(body);
  if (Number(fields.get("content-length") ?? WHOLE_BYTES_MAX + 1) > WHOLE_BYTES_MAX) return streamOf(body);
  const pieces: Uint8Array[] = [];
  for (let piece = await body.read(); piece !== null; piece = await body.read()) pieces.push(piece);
  return new Uint8Array(joinBytes(pieces));
}

function readerOf(stream: ReadableStream<Uint8Array>): BodyReader {
  const reader = stream.getReader();
  return {
    async read() {
      const { value, done } = await reader.read();
      return done ? null : (value ?? new Uint8Array(0));
    },
    cancel() {
      reader.cancel().catch(() => {});
    },
  };
}

function streamOf(body: BodyReader): ReadableStream<Uint8Array> {
  return new ReadableStream({
    async pull(controller) {
      const piece = await body.read();
      if (piece === null) controller.close();
      else controller.enqueue(piece);
    },
    cancel() {
      body.cancel();
    },
  });
}

/**
 * A storage bucket as an origin: a request becomes a signed one for an object, and what the store answers
 * becomes what a static file server would say. The store's own words (XML, vendor fields) end here. A
 * request takes one exchange, and a second or third one only where something is not as it should be: other
 * credentials, a part of another version, a missing object.
 */
import type { Clock } from "../../base/clock.ts";
import { evaluateConditional } from "../../http/conditional.ts";
import { parseHttpDate } from "../../http/date.ts";
import { Fields } from "../../http/fields.ts";
import { formatUnsatisfiedRange } from "../../http/range.ts";
import {
  type NextHop,
  UpstreamError,
  type UpstreamRequest,
  type UpstreamResponse,
  type UpstreamTimeouts,
} from "../next-hop.ts";
import { ownAnswer } from "../own-answer.ts";
import { type ErrorBody, parseErrorBody, readErrorBody } from "./error-body.ts";
import { TELL_PAUSE_MS } from "./limits.ts";
import {
  errorPageFields,
  isOtherPart,
  type ObjectRequest,
  objectFields,
  objectRequest,
  pageRequest,
  wholeRequest,
  withoutContent,
} from "./object-fields.ts";
import { type KeyRules, objectKeyOf } from "./object-key.ts";
import { codeOf, type RefusedResponse, refusalOf, refusesCredentials } from "./refusal.ts";
import type { BucketService } from "./service.ts";

/** How a bucket origin is made. */
export interface BucketOriginOptions {
  /** The origin's name in the config. */
  readonly name: string;
  readonly service: BucketService;
  /** The store's server. Closed with this origin. */
  readonly server: NextHop;
  readonly clock: Clock;
  readonly keys: KeyRules;
  /** Key, after the prefix, of the document that is sent with 403 and 404; null for none. */
  readonly errorDocument: string | null;
  /** Is "access denied" to be taken for "not there"? */
  readonly deniedAsMissing: boolean;
  /** Entries of objects' own metadata that are given on as fields of these names. */
  readonly metadata: readonly string[];
  /** Told what is wrong with the setup, once a minute for each kind of trouble. */
  readonly tell: (message: string) => void;
}

/** One request of a viewer on its way. */
interface Asked {
  readonly request: UpstreamRequest;
  readonly method: "GET" | "HEAD";
  readonly timeouts: UpstreamTimeouts;
  readonly startMs: number;
}

/** What a store answered: a response, or a refusal that was read. */
type Answer =
  | { readonly kind: "response"; readonly response: UpstreamResponse }
  | ({ readonly kind: "refused" } & RefusedResponse);

const REASONS: Readonly<Record<number, string>> = {
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  412: "Precondition Failed",
  416: "Range Not Satisfiable",
  503: "Service Unavailable",
};

/** An origin that answers GET and HEAD from the objects of a bucket. */
export class BucketOrigin implements NextHop {
  readonly name: string;
  readonly #options: BucketOriginOptions;
  readonly #metadata: ReadonlySet<string>;
  /** When trouble of each kind was told last. */
  readonly #toldMs = new Map<string, number>();

  constructor(options: BucketOriginOptions) {
    this.name = options.name;
    this.#options = options;
    this.#metadata = new Set(options.metadata);
  }

  /** Answers from the bucket. Rejects when the store can not be reached, or refuses what no viewer can change. */
  async fetch(request: UpstreamRequest, timeouts: UpstreamTimeouts): Promise<UpstreamResponse> {
    const answer = await this.#answer(request, timeouts);
    // Only now: where this rejects, another next hop may be asked with the same body.
    request.body?.cancel();
    return answer;
  }

  close(): void {
    this.#options.server.close();
  }

  async #answer(request: UpstreamRequest, timeouts: UpstreamTimeouts): Promise<UpstreamResponse> {
    const { service, keys, clock } = this.#options;
    const startMs = clock.now();
    const method = request.method === "HEAD" ? "HEAD" : "GET";
    const asked: Asked = { request, method, timeouts, startMs };
    if (request.method !== method) return this.#plain(asked, 405, [["allow", "GET, HEAD"]]);
    const key = objectKeyOf(request.target, keys);
    if (key === null) return this.#error(asked, 404);
    const wanted = objectRequest(method, request.fields, service);
    const answer = await this.#ask(asked, method, key, wanted);
    if (!wanted.ranged || !isUnusable(answer, wanted)) return this.#given(asked, key, wanted, answer);
    // RFC 9110 section 13.1.5: a part of another version is never what was asked for; the whole always is.
    if (answer.kind === "response") answer.response.body?.cancel();
    const whole = wholeRequest(wanted);
    return this.#given(asked, key, whole, await this.#ask(asked, method, key, whole));
  }

  /** What the store's answer about the object is to the viewer. */
  async #given(asked: Asked, key: string, wanted: ObjectRequest, answer: Answer): Promise<UpstreamResponse> {
    const { service, clock, deniedAsMissing } = this.#options;
    if (answer.kind === "response") return this.#object(asked, wanted, answer.response);
    const { status, fields, error } = answer;
    if (status === 412 && hasCondition(wanted)) return this.#plain(asked, 412);
    if (status === 416 && wanted.ranged) {
      const size = /^[0-9]{1,15}$/.test(error.objectSize ?? "") ? Number(error.objectSize) : null;
      const told = fields.get("content-range");
      const range = size === null ? told : formatUnsatisfiedRange(size);
      return this.#plain(asked, 416, range === null ? [] : [["content-range", range]]);
    }
    if (status === 429 || status >= 500) {
      const retryAfter = fields.get("retry-after");
      // That too much is asked of the store is no fault of this viewer.
      const ours = status === 429 ? 503 : status;
      return this.#plain(asked, ours, retryAfter === null ? [] : [["retry-after", retryAfter]]);
    }
    const refusal = refusalOf(answer, clock.now());
    switch (refusal.kind) {
      case "missing":
        return (await this.#folder(asked, key)) ?? this.#error(asked, 404);
      case "denied": {
        const code = codeOf(answer);
        const plain = code === null || code === "AccessDenied";
        if (plain && deniedAsMissing) return (await this.#folder(asked, key)) ?? this.#error(asked, 404);
        if (!plain) this.#tell("denied", `the object ${JSON.stringify(key)} was refused with ${code}`);
        return this.#error(asked, 403);
      }
      case "fault":
        this.#tell(refusal.subject, refusal.text);
        throw new UpstreamError(
          "http_protocol_error",
          `origin "${this.name}": ${service.label}: ${refusal.text}`,
        );
    }
  }

  /** An object, or a part of it, whose conditions are looked at here as well: not every store does so. */
  #object(asked: Asked, wanted: ObjectRequest, response: UpstreamResponse): UpstreamResponse {
    const { service } = this.#options;
    const fields = objectFields(response.fields, service.metadataPrefix, this.#metadata);
    if (response.status === 304) {
      if (!hasCondition(wanted)) throw this.#odd("304 to a request without a condition");
      return { ...response, fields: withoutContent(fields) };
    }
    if (response.status === 206 && !wanted.ranged) {
      response.body?.cancel();
      throw this.#odd("206 to a request without a range");
    }
    const condition = evaluateConditional(asked.method, asked.request.fields, {
      etag: fields.get("etag"),
      lastModifiedMs: parseHttpDate(fields.get("last-modified")),
    });
    if (condition === "proceed") return { ...response, fields };
    response.body?.cancel();
    if (condition === "precondition-failed") return this.#plain(asked, 412);
    const bare = withoutContent(fields);
    return { ...response, status: 304, fields: bare, framing: "none", bodyLength: null, body: null };
  }

  /** A path without its slash whose index document is there leads to it, as on the stores' own websites. */
  async #folder(asked: Asked, key: string): Promise<UpstreamResponse | null> {
    const { keys } = this.#options;
    const [path = "", query] = splitTarget(asked.request.target);
    if (keys.index === null || path.endsWith("/")) return null;
    const index = objectKeyOf(`${path}/`, keys);
    if (index === null || index === key) return null;
    const { response } = await this.#send(asked, "HEAD", index, pageRequest(asked.request.fields).fields);
    if (response.status !== 200) return null;
    // Relative, so that it holds behind a rewrite; `./` keeps the name from being read as a host or a scheme.
    const name = path.slice(path.lastIndexOf("/") + 1);
    return this.#plain(asked, 301, [["location", `./${name}/${query}`]]);
  }

  /** The error document with this status, or a line of text. */
  async #error(asked: Asked, status: 403 | 404): Promise<UpstreamResponse> {
    const { errorDocument, keys } = this.#options;
    if (errorDocument === null) return this.#plain(asked, status);
    let answer: Answer;
    try {
      const page = pageRequest(asked.request.fields);
      answer = await this.#ask(asked, asked.method, keys.prefix + errorDocument, page);
    } catch (error) {
      // That the object is not there is known, whatever becomes of the page.
      if (asked.request.signal?.aborted) throw error;
      return this.#plain(asked, status);
    }
    if (answer.kind === "response" && answer.response.status === 200) {
      return { ...answer.response, status, fields: errorPageFields(answer.response.fields) };
    }
    if (answer.kind === "response") answer.response.body?.cancel();
    const what = answer.kind === "refused" ? (codeOf(answer) ?? answer.status) : answer.response.status;
    this.#tell(
      "error document",
      `the error document ${JSON.stringify(errorDocument)} was not given: ${what}`,
    );
    return this.#plain(asked, status);
  }

  /** Asks for an object; once more when the credentials were refused and others are there by now. */
  async #ask(asked: Asked, method: "GET" | "HEAD", key: string, wanted: ObjectRequest): Promise<Answer> {
    const first = await this.#askOnce(asked, method, key, wanted);
    if (first.answer.kind !== "refused" || !refusesCredentials(first.answer) || !(await first.renew())) {
      return first.answer;
    }
    return (await this.#askOnce(asked, method, key, wanted)).answer;
  }

  async #askOnce(
    asked: Asked,
    method: "GET" | "HEAD",
    key: string,
    wanted: ObjectRequest,
  ): Promise<{ answer: Answer; renew: () => Promise<boolean> }> {
    const { response, renew } = await this.#send(asked, method, key, wanted.fields);
    if (response.status < 300 || response.status === 304) {
      return { answer: { kind: "response", response }, renew };
    }
    const refused = { kind: "refused" as const, status: response.status, fields: response.fields };
    let error = await readErrorBody(response.body);
    const untold = method === "HEAD" && codeOf({ ...refused, error }) === null;
    if (untold && (response.status === 400 || response.status === 403))
      error = await this.#reason(asked, key);
    return { answer: { ...refused, error }, renew };
  }

  /** Why a HEAD was refused: its answer has no body to say so, that to a GET of one byte has. */
  async #reason(asked: Asked, key: string): Promise<ErrorBody> {
    const { response } = await this.#send(asked, "GET", key, Fields.from([["range", "bytes=0-0"]]));
    if (response.status >= 300) return readErrorBody(response.body);
    response.body?.cancel();
    return parseErrorBody("");
  }

  async #send(
    asked: Asked,
    method: "GET" | "HEAD",
    key: string,
    wanted: Fields,
  ): Promise<{ response: UpstreamResponse; renew: () => Promise<boolean> }> {
    const { service, server, clock } = this.#options;
    const fields = wanted.clone();
    const { target, renew } = service.sign({ method, key, fields }, clock.now());
    const response = await server.fetch(
      {
        method,
        scheme: asked.request.scheme,
        authority: service.authority,
        target,
        fields,
        body: null,
        bodyLength: null,
        signal: asked.request.signal,
      },
      asked.timeouts,
    );
    return { response, renew };
  }

  #plain(
    { method, startMs }: Asked,
    status: number,
    fields: readonly (readonly [string, string])[] = [],
  ): UpstreamResponse {
    const head = method === "HEAD";
    const reason = REASONS[status] ?? (status >= 500 ? "Server Error" : "Moved Permanently");
    return ownAnswer({ status, reason, head, fields, startMs, endMs: this.#options.clock.now() });
  }

  #odd(what: string): UpstreamError {
    const { service } = this.#options;
    return new UpstreamError(
      "http_protocol_error",
      `origin "${this.name}": ${service.label} answered ${what}`,
    );
  }

  #tell(kind: string, text: string): void {
    const { clock, service, tell } = this.#options;
    const toldMs = this.#toldMs.get(kind);
    const nowMs = clock.now();
    if (toldMs !== undefined && nowMs - toldMs >= 0 && nowMs - toldMs < TELL_PAUSE_MS) return;
    this.#toldMs.set(kind, nowMs);
    tell(`origin "${this.name}": ${service.label}: ${text}`);
  }
}

/** Is a part not the one that was asked for, or was it asked for of a version that is gone? */
function isUnusable(answer: Answer, wanted: ObjectRequest): boolean {
  if (answer.kind === "refused") return wanted.ifRange !== null && answer.status === 412;
  return answer.response.status === 206 && isOtherPart(wanted, answer.response.fields);
}

function hasCondition({ fields }: ObjectRequest): boolean {
  return ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since"].some((name) =>
    fields.has(name),
  );
}

/** Path and query (with its `?`) of an origin-form target. */
function splitTarget(target: string): [path: string, query: string] {
  const at = target.indexOf("?");
  return at < 0 ? [target, ""] : [target.slice(0, at), target.slice(at)];
}

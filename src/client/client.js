/**
 * `proxima-cdn/client`: asks a control plane. What may be sent twice without harm (reads, and what has an
 * idempotency key) is tried again when the network fails or the control plane wants to be left alone.
 */

/** @typedef {{ params?: Record<string, unknown>, query?: Record<string, unknown>, body?: unknown, idempotencyKey?: string, ifMatch?: string, signal?: AbortSignal }} Options */
/** @typedef {{ status: number, etag: string | null, value: any }} Answer */

const TIMEOUT_MS = 30_000;
const TRIES_MAX = 3;
const RETRY_MS = 250;
/** Longest that is waited because a control plane asks for it. */
const RETRY_AFTER_MS_MAX = 10_000;
const PAGES_MAX = 100_000;

/** A request that was refused, or that did not arrive. */
export class ApiError extends Error {
  /**
   * @param {string} message
   * @param {number} status
   * @param {Readonly<Record<string, unknown>> | null} problem
   * @param {unknown} [cause]
   */
  constructor(message, status, problem, cause) {
    super(message, { cause });
    this.name = "ApiError";
    this.status = status;
    this.problem = problem;
  }
}

/** @param {import("./types.d.ts").ClientOptions} options */
export function connect({ url, token, timeoutMs = TIMEOUT_MS, fetch: send = globalThis.fetch }) {
  const base = String(url).replace(/\/+$/, "");

  /**
   * One attempt.
   * @param {string} method @param {string} path @param {Options} options
   */
  const attempt = async (method, path, { body, idempotencyKey, ifMatch, signal, query }) => {
    // What a query waits for on purpose comes on top.
    const waitMs = 1_000 * Number(query?.seconds ?? (query?.wait === undefined ? 0 : 10));
    const limit = AbortSignal.timeout(timeoutMs + waitMs);
    const response = await send(base + path, {
      method,
      redirect: "error",
      headers: {
        authorization: `Bearer ${token}`,
        ...(method === "GET" ? {} : { "content-type": "application/json" }),
        ...(idempotencyKey === undefined ? {} : { "idempotency-key": idempotencyKey }),
        ...(ifMatch === undefined ? {} : { "if-match": ifMatch }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: signal === undefined ? limit : AbortSignal.any([limit, signal]),
    });
    const text = await response.text();
    return { response, value: text === "" ? undefined : JSON.parse(text) };
  };

  /**
   * @param {string} method @param {string} path @param {Options} options
   * @returns {Promise<Answer>}
   */
  const exchange = async (method, path, options) => {
    const isSafe = method === "GET" || (method === "POST" && options.idempotencyKey !== undefined);
    for (let tries = 1; ; tries++) {
      const isLast = tries >= TRIES_MAX || options.signal?.aborted === true;
      let waitMs = RETRY_MS * 2 ** (tries - 1);
      /** @type {Awaited<ReturnType<typeof attempt>> | null} */
      let answer = null;
      try {
        answer = await attempt(method, path, options);
      } catch (cause) {
        if (!isSafe || isLast) throw new ApiError(`${method} ${base}${path}: ${cause}`, 0, null, cause);
      }
      if (answer !== null) {
        const { response, value } = answer;
        const { ok, status, headers } = response;
        if (ok) return { status, etag: headers.get("etag"), value };
        // Of a request that was not let in nothing was done, whatever it is.
        const mayAgain = status === 429 || (status === 503 && isSafe);
        if (!mayAgain || isLast) throw refusal(status, value);
        const afterMs = Number(headers.get("retry-after") ?? 0) * 1_000;
        waitMs = Math.min(Math.max(waitMs, afterMs || 0), RETRY_AFTER_MS_MAX);
      }
      await new Promise((resolve) => setTimeout(resolve, waitMs));
    }
  };

  /** @param {string} route @param {Options} [options] */
  const ask = (route, options = {}) => {
    const [method = "", pattern = ""] = route.split(" ");
    return exchange(method, pathOf(pattern, options), options);
  };
  return {
    ask,
    /** @param {string} route @param {Options} [options] */
    call: async (route, options) => (await ask(route, options)).value,
    /** @param {string} route @param {Options} [options] */
    async *each(route, options = {}) {
      let { value } = await ask(route, options);
      for (let page = 1; ; page++) {
        yield* value.items;
        if (value.next == null || page >= PAGES_MAX) return;
        ({ value } = await exchange("GET", value.next, options));
      }
    },
  };
}

/** @param {string} pattern @param {Options} options */
function pathOf(pattern, { params = {}, query = {} }) {
  const path = pattern.replace(/\{(\w+)\}/g, (_all, name) => {
    const value = params[name];
    if (value === undefined || value === "") throw new TypeError(`params.${name} is missing`);
    return encodeURIComponent(String(value));
  });
  const fields = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value !== undefined) fields.set(name, String(value));
  const text = fields.toString();
  return text === "" ? path : `${path}?${text}`;
}

/** @param {number} status @param {unknown} problem */
function refusal(status, problem) {
  const known = typeof problem === "object" && problem !== null ? problem : null;
  const detail = known !== null && "detail" in known ? String(known.detail) : `status ${status}`;
  return new ApiError(detail, status, /** @type {Record<string, unknown> | null} */ (known));
}

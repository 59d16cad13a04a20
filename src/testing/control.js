/** The control plane of a CDN under test, and the nodes' own APIs. */
import { send } from "./request.js";

/** Entries of a page of the API. */
const PAGE = 500;

/** Asks the control plane. */
export class Control {
  #url;
  #token;

  /** @param {string} url @param {string} token */
  constructor(url, token) {
    this.#url = url;
    this.#token = token;
  }

  /** @param {string} path @param {unknown} body @returns {Promise<any>} */
  post(path, body) {
    return this.#ask("POST", path, body);
  }

  /** @param {string} path @returns {Promise<any>} */
  get(path) {
    return this.#ask("GET", path, undefined);
  }

  /** The first host of a site that is no pattern; null when there is none. @returns {Promise<string | null>} */
  async host() {
    const { items } = await this.get(`/v1/sites?limit=${PAGE}`);
    for (const { hosts } of items) for (const host of hosts) if (!host.includes("*")) return host;
    return null;
  }

  /** @param {string} method @param {string} path @param {unknown} body */
  async #ask(method, path, body) {
    const url = new URL(this.#url + path);
    const got = await send(url, {
      method,
      headers: {
        host: url.host,
        authorization: `Bearer ${this.#token}`,
        ...(body === undefined ? {} : { "content-type": "application/json" }),
      },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    return parsed(got, `${method} ${path}`);
  }
}

/**
 * What a node would do with a request.
 * @param {string} node @param {string} url @param {string} method @param {Readonly<Record<string, string>>} headers
 * @returns {Promise<any>}
 */
export async function explainAt(node, url, method, headers) {
  const query = new URLSearchParams({ url, method });
  for (const [name, value] of Object.entries(headers)) query.append("header", `${name}: ${value}`);
  const asked = new URL(`${node}/v1/explain?${query}`);
  return parsed(await send(asked, { method: "GET", headers: { host: asked.host } }), "explain");
}

/** @param {import("./request.js").Got} got @param {string} what @returns {any} */
function parsed({ status, body }, what) {
  const text = Buffer.from(body).toString("utf8");
  /** @type {any} */
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Error(`${what}: the answer (${status}) is not JSON: ${text.slice(0, 200)}`);
  }
  if (status >= 200 && status < 300) return value;
  const problems = Array.isArray(value.problems)
    ? value.problems.map((/** @type {any} */ one) => `${one.path}: ${one.message}`)
    : [];
  throw new Error(`${what}: ${[value.detail, ...problems].join("; ")}`);
}

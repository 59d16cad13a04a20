/**
 * `proxima-cdn/testing`: a CDN for a test. Plain JavaScript with its types in JSDoc, as the origin kit is: test
 * runners on Node 20 read no TypeScript.
 */
import { AssertionError } from "node:assert";
import { writeConfig } from "./config.js";
import { Control, explainAt } from "./control.js";
import { startOrigin } from "./origin.js";
import { Program } from "./program.js";
import { meaningOf } from "./reasons.js";
import { send } from "./request.js";
import { Answer } from "./response.js";

/** @import { CacheResult, Cdn, CdnOptions, CdnResponse, Explanation, PurgeTarget, RequestOptions } from "./types.d.ts" */
/** @import { Ready } from "./program.js" */

const START_MS_MAX = 15_000;
const HOST = "cdn.test";
/** Answers that are remembered, to tell of them later. */
const LAST_MAX = 1_000;

/** @type {typeof import("./types.d.ts").startCdn} */
export async function startCdn(options = {}) {
  const origin = options.origin === undefined ? null : await startOrigin(options.origin);
  const config = writeConfig(options.config);
  const remove = async () => {
    config.remove();
    await origin?.stop();
  };
  try {
    const program = new Program(argvOf(options, origin?.argument ?? null, config.argv));
    const ready = await program.ready(options.startMsMax ?? START_MS_MAX);
    const control = new Control(ready.control, ready.token);
    const stop = async () => {
      await program.stop();
      await remove();
    };
    try {
      return new RunningCdn(ready, control, options.host ?? (await control.host()) ?? HOST, stop);
    } catch (error) {
      await stop();
      throw error;
    }
  } catch (error) {
    await remove();
    throw error;
  }
}

/** @param {CdnOptions} options @param {string | null} origin @param {readonly string[]} config */
function argvOf({ pops, shield, now, takeover }, origin, config) {
  return [
    "dev",
    ...(origin === null ? [] : [origin]),
    ...["--ci", "--json", "--until-stdin-ends"],
    ...config,
    ...(pops === undefined ? [] : ["--pops", pops.join(",")]),
    ...(shield === false ? ["--no-shield"] : []),
    ...(takeover === true ? ["--takeover", "127.0.0.1:0"] : []),
    ...(now === undefined ? [] : ["--clock", new Date(now).toISOString()]),
  ];
}

/** @implements {Cdn} */
class RunningCdn {
  #ready;
  #control;
  #stop;
  /** @type {Promise<void> | null} */
  #stopping = null;
  /** The last answer by PoP and URL. @type {Map<string, CdnResponse>} */
  #last = new Map();

  /** @param {Ready} ready @param {Control} control @param {string} host @param {() => Promise<void>} stop */
  constructor(ready, control, host, stop) {
    this.#ready = ready;
    this.#control = control;
    this.#stop = stop;
    this.host = host;
    this.pops = Object.keys(ready.pops);
    this.control = ready.control;
    this.token = ready.token;
    this.takeover = ready.takeover;
  }

  /** @param {string} [pop] */
  url(pop) {
    return this.#pop(pop).url;
  }

  /** @param {string | URL} target @param {RequestOptions} [options] @returns {Promise<CdnResponse>} */
  async fetch(target, options = {}) {
    const { name, url: at } = this.#pop(options.pop);
    const asked = this.#asked(target);
    const { body } = options;
    const got = await send(new URL(asked.pathname + asked.search, at), {
      method: options.method ?? "GET",
      headers: headersOf(asked, options),
      ...(body === undefined ? {} : { body }),
    });
    const answer = new Answer(name, asked.href, got);
    this.#last.delete(`${name} ${asked.href}`);
    this.#last.set(`${name} ${asked.href}`, answer);
    if (this.#last.size > LAST_MAX)
      for (const oldest of [...this.#last.keys()].slice(0, 1)) this.#last.delete(oldest);
    return answer;
  }

  /** @param {string | number} by */
  async advance(by) {
    await this.#control.post("/v1/clock", typeof by === "number" ? { advanceMs: by } : { advance: by });
  }

  /** @param {Date | string | number} to */
  async setTime(to) {
    await this.#control.post("/v1/clock", { set: new Date(to).toISOString() });
  }

  async freeze() {
    await this.#control.post("/v1/clock", { freeze: true });
  }

  async resume() {
    await this.#control.post("/v1/clock", { freeze: false });
  }

  async now() {
    return new Date((await this.#control.get("/v1/clock")).now);
  }

  /** @param {string | URL} target @param {RequestOptions} [options] */
  expectHit(target, options) {
    return this.expectCacheResult(target, "hit", options);
  }

  /** @param {string | URL} target @param {RequestOptions} [options] */
  expectMiss(target, options) {
    return this.expectCacheResult(target, "miss", options);
  }

  /**
   * @param {string | URL} target
   * @param {CacheResult | readonly CacheResult[]} result
   * @param {RequestOptions} [options]
   */
  async expectCacheResult(target, result, options = {}) {
    /** @type {readonly string[]} */
    const allowed = typeof result === "string" ? [result] : result;
    const answer = await this.fetch(target, options);
    if (!allowed.includes(answer.result))
      throw await this.#failed(
        `expected a ${allowed.join(" or ")}`,
        answer,
        options,
        allowed.join(" or "),
        answer.result,
      );
    return answer;
  }

  /** @param {string | URL} target @param {number} status @param {RequestOptions} [options] */
  async expectStatus(target, status, options = {}) {
    const answer = await this.fetch(target, options);
    if (answer.status !== status)
      throw await this.#failed(`expected status ${status}`, answer, options, status, answer.status);
    return answer;
  }

  /** @param {PurgeTarget} target */
  async purge(target) {
    const purge = await this.#control.post("/v1/purges?wait=counted&seconds=30", orderOf(target, this.host));
    /** @type {{ name: string, state: string, objects: number | null }[]} */
    const nodes = purge.nodes;
    const late = nodes.filter(({ state }) => state !== "counted");
    if (late.length > 0)
      throw new Error(
        `the purge did not reach every node: ${late.map(({ name, state }) => `${name} is ${state}`).join(", ")}`,
      );
    return {
      id: /** @type {string} */ (purge.id),
      objects: /** @type {number} */ (purge.objects ?? 0),
      nodes: nodes.map(({ name, objects }) => ({ name, objects })),
    };
  }

  /** @param {string | URL} target @param {RequestOptions} [options] @returns {Promise<Explanation>} */
  async explain(target, options = {}) {
    const { name, control } = this.#pop(options.pop);
    const asked = this.#asked(target);
    const { host: _, ...headers } = headersOf(asked, options);
    const { steps, would } = await explainAt(control, asked.href, options.method ?? "GET", headers);
    const last = this.#last.get(`${name} ${asked.href}`) ?? null;
    const lines = [
      `${asked.href} at ${name}`,
      ...(last === null ? [] : [`  was     ${last.result}: ${last.reason}: ${meaningOf(last.reason)}`]),
      `  now     ${would.result}: ${would.reason}: ${meaningOf(would.reason)}`,
      ...steps.map(
        (/** @type {{ step: string, outcome: string }} */ { step, outcome }) =>
          `  ${step.padEnd(7)} ${outcome}`,
      ),
    ];
    return { text: lines.join("\n"), last, would, steps };
  }

  env() {
    const { control, token, accessKey, sites, storage, takeover } = this.#ready;
    const [ids] = Object.values(sites);
    return {
      PROXIMA_CONTROL_URL: control,
      PROXIMA_CONTROL_TOKEN: token,
      CLOUDFLARE_BASE_URL: `${control}/client/v4`,
      CLOUDFLARE_API_BASE_URL: `${control}/client/v4`,
      CLOUDFLARE_API_TOKEN: token,
      FASTLY_API_ENDPOINT: control,
      FASTLY_API_URL: control,
      FASTLY_API_TOKEN: token,
      FASTLY_API_KEY: token,
      AWS_ENDPOINT_URL_CLOUDFRONT: control,
      AWS_ENDPOINT_URL_S3: storage,
      BUNNY_STORAGE_URL: storage,
      AWS_ACCESS_KEY_ID: accessKey.accessKeyId,
      AWS_SECRET_ACCESS_KEY: accessKey.secretAccessKey,
      AWS_REGION: "us-east-1",
      BUNNY_API_KEY: token,
      ...(ids === undefined
        ? {}
        : {
            CLOUDFLARE_ZONE_ID: ids.cloudflare,
            FASTLY_SERVICE_ID: ids.fastly,
            CLOUDFRONT_DISTRIBUTION_ID: ids.cloudfront,
            BUNNY_PULL_ZONE_ID: ids.number,
          }),
      ...(takeover === null ? {} : { NODE_EXTRA_CA_CERTS: takeover.caFile, AWS_CA_BUNDLE: takeover.caFile }),
    };
  }

  stop() {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  /** What a viewer asked for: a path is one of this CDN's host. @param {string | URL} target */
  #asked(target) {
    const url = new URL(target, `http://${this.host}`);
    if (url.protocol !== "http:" && url.protocol !== "https:")
      throw new TypeError(`${url.href}: expected a path, or a URL that begins with http:// or https://`);
    url.hash = "";
    return url;
  }

  /** @param {string | undefined} pop */
  #pop(pop) {
    const name = pop ?? this.pops[0] ?? "";
    const node = this.#ready.pops[name];
    if (node === undefined)
      throw new RangeError(`there is no PoP "${name}"; there are ${this.pops.join(", ")}`);
    return { name, ...node };
  }

  /**
   * The error of an expectation: what came, why, and what the PoP would do now.
   * @param {string} wanted
   * @param {CdnResponse} answer
   * @param {RequestOptions} options
   * @param {unknown} expected
   * @param {unknown} actual
   */
  async #failed(wanted, answer, options, expected, actual) {
    const { pop, url, status, result, reason, cacheStatus, headers } = answer;
    const { steps, would } = await this.explain(url, { ...options, pop });
    const key = steps.find(({ step }) => step === "key");
    const { below = [], queryLeftOut = false } = /** @type {{ below?: string[], queryLeftOut?: boolean }} */ (
      key?.details ?? {}
    );
    const lines = [
      `${wanted} of ${url} at ${pop}, got ${result} with status ${status}`,
      `  reason         ${reason}: ${meaningOf(reason)}`,
      // Why it is not there for the next one is often why it was not there for this one.
      ...(would.result === "bypass" && /^re(?:quest|sponse)-/.test(would.reason) && would.reason !== reason
        ? [`  not stored     ${would.reason}: ${meaningOf(would.reason)}`]
        : []),
      `  Cache-Status   ${cacheStatus === "" ? "none" : cacheStatus}`,
      `  Cache-Control  ${headers.get("cache-control") ?? "none"}`,
      `  Vary           ${headers.get("vary") ?? "none"}`,
      `  key            ${key?.outcome ?? "none: the cache is not used"}`,
      ...(queryLeftOut ? ["                 not all of the query is in it"] : []),
      ...(below.length === 0 ? [] : [`  and            ${below.join(", ")}`]),
    ];
    return new AssertionError({ message: lines.join("\n"), expected, actual, operator: wanted });
  }
}

/** @param {URL} asked @param {RequestOptions} options @returns {Record<string, string>} */
function headersOf(asked, { headers = {}, from }) {
  return {
    host: asked.host,
    "x-forwarded-proto": asked.protocol.slice(0, -1),
    ...(from === undefined ? {} : { "x-forwarded-for": from }),
    ...headers,
  };
}

/** @param {PurgeTarget} target @param {string} host */
function orderOf({ urls, tags, prefixes, patterns, hosts, everything, soft, site }, host) {
  const kinds = {
    url: { urls },
    tag: { tags },
    prefix: { prefixes },
    wildcard: { patterns },
    host: { hosts },
  };
  const given = Object.entries(kinds).filter(([, members]) => Object.values(members)[0] !== undefined);
  if (given.length + (everything === true ? 1 : 0) !== 1)
    throw new TypeError("purge: say one of urls, tags, prefixes, patterns, hosts, or everything: true");
  const rest = { ...(soft === true ? { mode: "soft" } : {}), ...(site === undefined ? {} : { site }) };
  const [scope, members] = given[0] ?? ["everything", {}];
  if (urls === undefined) return { scope, ...members, ...rest };
  return { scope, urls: urls.map((url) => new URL(url, `http://${host}`).href), ...rest };
}

/**
 * Tells one control listener what to forget. What waits is a set of targets, so a change told twice is one
 * target, but a target that changes while its purge is on its way is purged again. A batch is sent with one
 * idempotency key until it is acknowledged, however often that takes; back-off grows to half a minute. A batch
 * that is refused as wrong is halved until the wrong target stands alone, and only that one is given up.
 */

/** Most targets of one purge: the edge takes 10,000, and bodies of 8 MiB. */
const BATCH_TARGETS_MAX = 1_000;
const BATCH_CHARS_MAX = 1_048_576;
const RETRY_FIRST_MS = 500;
const RETRY_MS_MAX = 30_000;
/** How much of a refusal is read, in characters. */
const DETAIL_CHARS_MAX = 500;
const ANSWER_BYTES_MAX = 65_536;

/** @typedef {"url" | "tag" | "prefix" | "everything"} Scope */
/** @typedef {{ readonly scope: Scope, readonly targets: readonly string[], readonly key: string }} Batch */
/** @typedef {{ readonly kind: "done" } | { readonly kind: "refused", readonly why: string } | { readonly kind: "failed", readonly why: string, readonly waitMs: number }} Outcome */

const MEMBER = /** @type {const} */ ({ url: "urls", tag: "tags", prefix: "prefixes" });

/** One control listener's queue. */
export class Purger {
  #options;
  /** @type {{ url: Set<string>, tag: Set<string>, prefix: Set<string>, everything: Set<string> }} */
  #waiting = { url: new Set(), tag: new Set(), prefix: new Set(), everything: new Set() };
  /** Batches that were formed, the first of which is being sent. @type {Batch[]} */
  #batches = [];
  #attempts = 0;
  /** Why the newest attempt failed: told once. */
  #told = "";
  /** @type {(() => void) | null} */
  #cancelTimer = null;
  #sending = false;
  #closed = false;
  /** @type {(() => void)[]} */
  #drained = [];

  /**
   * @param {{
   *   readonly control: string,
   *   readonly token: string | null,
   *   readonly site: string | null,
   *   readonly mode: "hard" | "soft",
   *   readonly gatherMs: number,
   *   readonly waitingMax: number,
   *   readonly timeoutMs: number,
   *   readonly fetch: (url: string, init: RequestInit) => Promise<Response>,
   *   readonly onProblem: (message: string) => void,
   *   readonly after: (delayMs: number, run: () => void) => () => void,
   *   readonly random: () => number,
   * }} options
   */
  constructor(options) {
    this.#options = options;
  }

  /** Targets that are not acknowledged. */
  get waiting() {
    const { url, tag, prefix, everything } = this.#waiting;
    const formed = this.#batches.reduce((sum, batch) => sum + Math.max(1, batch.targets.length), 0);
    return url.size + tag.size + prefix.size + everything.size + formed;
  }

  /** @param {{ urls?: readonly string[], tags?: readonly string[], prefixes?: readonly string[] }} affected */
  add({ urls = [], tags = [], prefixes = [] }) {
    if (this.#closed) throw new Error("the origin kit is closed: it takes no more changes");
    const waiting = this.#waiting;
    // What everything is purged for needs no purge of its own.
    if (waiting.everything.size === 0) {
      for (const url of urls) waiting.url.add(url);
      for (const tag of tags) waiting.tag.add(tag);
      for (const prefix of prefixes) waiting.prefix.add(prefix);
      if (this.waiting > this.#options.waitingMax) this.#fold();
    }
    this.#arm(this.#options.gatherMs);
  }

  /** Resolves when nothing waits. */
  drained() {
    if (this.waiting === 0) return Promise.resolve();
    return /** @type {Promise<void>} */ (new Promise((resolve) => this.#drained.push(resolve)));
  }

  /** Ends it; what waits is told. */
  close() {
    this.#closed = true;
    this.#cancelTimer?.();
    this.#cancelTimer = null;
    const left = this.waiting;
    if (left > 0)
      this.#options.onProblem(
        `purge: ${left} ${left === 1 ? "target was" : "targets were"} not acknowledged by ${this.#options.control}`,
      );
  }

  /** Too much waits: one purge of everything stands for all of it. The batch on its way stays. */
  #fold() {
    const { url, tag, prefix, everything } = this.#waiting;
    const count = this.waiting;
    for (const set of [url, tag, prefix]) set.clear();
    everything.add("everything");
    this.#batches.splice(this.#sending ? 1 : 0);
    this.#options.onProblem(
      `purge: ${count} targets waited for ${this.#options.control}; one purge of everything takes their place`,
    );
  }

  /** @param {number} delayMs */
  #arm(delayMs) {
    if (this.#cancelTimer !== null || this.#sending || this.#closed) return;
    this.#cancelTimer = this.#options.after(delayMs, () => {
      this.#cancelTimer = null;
      void this.#send();
    });
  }

  async #send() {
    if (this.#batches.length === 0) this.#form();
    const batch = this.#batches[0];
    if (batch === undefined) return;
    this.#sending = true;
    const outcome = await this.#post(batch);
    this.#sending = false;
    if (this.#closed) return;
    const delayMs = this.#settle(batch, outcome);
    if (this.waiting > 0) this.#arm(delayMs);
    else for (const resolve of this.#drained.splice(0)) resolve();
  }

  /** What an outcome means for the queue; returns how long to wait. @param {Batch} batch @param {Outcome} outcome */
  #settle(batch, outcome) {
    if (outcome.kind === "failed") {
      this.#attempts++;
      if (outcome.why !== this.#told)
        this.#options.onProblem(`purge: ${this.#options.control} ${outcome.why}; it is tried again`);
      this.#told = outcome.why;
      // Full jitter above half: many processes do not come back at the same moment.
      const most = Math.min(RETRY_MS_MAX, RETRY_FIRST_MS * 2 ** Math.min(this.#attempts - 1, 10));
      return Math.max(outcome.waitMs, most / 2 + (this.#options.random() * most) / 2);
    }
    this.#attempts = 0;
    this.#told = "";
    this.#batches.shift();
    if (outcome.kind === "done") return 0;
    if (batch.targets.length <= 1) {
      this.#options.onProblem(
        `purge: ${this.#options.control} refuses the ${batch.scope} ${JSON.stringify(batch.targets[0] ?? "")}, which is given up: ${outcome.why}`,
      );
      return 0;
    }
    const half = Math.ceil(batch.targets.length / 2);
    this.#batches.unshift(
      newBatch(batch.scope, batch.targets.slice(0, half)),
      newBatch(batch.scope, batch.targets.slice(half)),
    );
    return 0;
  }

  /** Makes batches of all that waits. */
  #form() {
    for (const scope of /** @type {const} */ (["everything", "tag", "url", "prefix"])) {
      const set = this.#waiting[scope];
      if (set.size === 0) continue;
      /** @type {string[]} */
      let targets = [];
      let chars = 0;
      for (const target of set) {
        if (targets.length >= BATCH_TARGETS_MAX || chars + target.length > BATCH_CHARS_MAX) {
          this.#batches.push(newBatch(scope, targets));
          targets = [];
          chars = 0;
        }
        targets.push(target);
        chars += target.length;
      }
      this.#batches.push(newBatch(scope, targets));
      set.clear();
    }
  }

  /** @param {Batch} batch @returns {Promise<Outcome>} */
  async #post({ scope, targets, key }) {
    const { control, token, site, mode, timeoutMs } = this.#options;
    const body = {
      scope,
      ...(scope === "everything" ? {} : { [MEMBER[scope]]: targets }),
      mode,
      idempotencyKey: key,
      ...(site === null ? {} : { site }),
    };
    try {
      const response = await this.#options.fetch(`${control}/v1/purges`, {
        method: "POST",
        redirect: "manual",
        headers: {
          "content-type": "application/json",
          ...(token === null ? {} : { authorization: `Bearer ${token}` }),
        },
        body: JSON.stringify(body),
        signal: AbortSignal.timeout(timeoutMs),
      });
      const { status } = response;
      const text = await textOf(response);
      if (status === 200 || status === 201) return { kind: "done" };
      const why = `answered ${status}${detailOf(text)}`;
      if (status === 400 || status === 413 || status === 422) return { kind: "refused", why };
      return { kind: "failed", why, waitMs: retryAfterMs(response.headers.get("retry-after")) };
    } catch (error) {
      const late = error instanceof Error && error.name === "TimeoutError";
      return {
        kind: "failed",
        why: late ? `did not answer within ${timeoutMs} ms` : `can not be reached${codeOf(error)}`,
        waitMs: 0,
      };
    }
  }
}

/** @param {Scope} scope @param {readonly string[]} targets @returns {Batch} */
function newBatch(scope, targets) {
  return { scope, targets, key: `kit-${crypto.randomUUID()}` };
}

/** The beginning of an answer's text. @param {Response} response */
async function textOf(response) {
  if (response.body === null) return "";
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let text = "";
  let size = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return text;
    size += value.byteLength;
    if (size > ANSWER_BYTES_MAX) {
      await reader.cancel();
      return text;
    }
    text += decoder.decode(value, { stream: true });
  }
}

/** `: detail` of a problem document (RFC 9457); nothing when it is none. @param {string} text */
function detailOf(text) {
  try {
    const { detail } = JSON.parse(text);
    return typeof detail === "string"
      ? `: ${detail.replace(/\p{Cc}/gu, "?").slice(0, DETAIL_CHARS_MAX)}`
      : "";
  } catch {
    return "";
  }
}

/** Seconds of Retry-After, held within the longest back-off. @param {string | null} value */
function retryAfterMs(value) {
  return value !== null && /^\d{1,6}$/.test(value) ? Math.min(Number(value) * 1_000, RETRY_MS_MAX) : 0;
}

/** Codes tell enough; messages may hold what was sent. @param {unknown} error */
function codeOf(error) {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : "";
  return /^[A-Za-z0-9_]{1,40}$/.test(code) ? ` (${code})` : "";
}

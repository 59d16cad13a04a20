/**
 * Walks an origin from the URLs that were named, breadth first, on their hosts only. Every limit that cuts
 * the walk short is told: what was not looked at is not known to be well.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { messageOf } from "../../base/errors.ts";
import { Pacer } from "../warm/pacer.ts";
import { cachingOf } from "./caching.ts";
import { checkAnswer, hasValidator, isAsset } from "./checks.ts";
import type { AuditAnswer, AuditClient } from "./client.ts";
import { QueryCopies } from "./copies.ts";
import type { Finding, FindingId } from "./finding.ts";
import { linksOf } from "./links.ts";

/** Redirects that are followed one after the other. */
const REDIRECTS_MAX = 5;
/** URLs that wait, as a multiple of those that may be asked for. */
const WAITING_FACTOR = 10;
const FAILURES_MAX = 20;
/** Fields that say who asks. */
const SESSION_FIELDS: ReadonlySet<string> = new Set(["cookie", "authorization"]);

/** How far a walk may go. */
export interface CrawlLimits {
  readonly urlsMax: number;
  /** Links from the URLs that were named. */
  readonly depthMax: number;
  /** Bytes of bodies, as sent. */
  readonly bytesMax: number;
  readonly timeMs: number;
  readonly concurrency: number;
  /** Requests a second. */
  readonly rate: number;
}

/** What cut a walk short. */
export type Cut = "urls" | "depth" | "bytes" | "time" | "body" | "redirects" | "stopped";

/** A URL that gave no answer. */
export interface CrawlFailure {
  readonly url: string;
  readonly problem: string;
}

/** What a walk came to. */
export interface CrawlResult {
  readonly answered: number;
  /** With the second requests that check validators and sessions. */
  readonly requests: number;
  readonly bytes: number;
  readonly findings: readonly Finding[];
  /** How many URLs each limit left out or cut. */
  readonly cut: Readonly<Partial<Record<Cut, number>>>;
  /** Other hosts that were linked to, or redirected to, and how often. */
  readonly elsewhere: ReadonlyMap<string, number>;
  readonly failed: number;
  readonly failures: readonly CrawlFailure[];
}

interface Step {
  readonly url: URL;
  readonly depth: number;
  /** The page that links there; null for a URL that was named. */
  readonly from: string | null;
  /** Redirects on the way here. */
  readonly redirects: readonly string[];
}

/** One walk. */
export class Crawl {
  readonly #client: AuditClient;
  readonly #limits: CrawlLimits;
  readonly #hasSession: boolean;
  readonly #stop: AbortController;
  readonly #pacer: Pacer;
  readonly #copies = new QueryCopies();
  readonly #seen = new Set<string>();
  readonly #hosts = new Set<string>();
  readonly #findings: Finding[] = [];
  readonly #cut: Partial<Record<Cut, number>> = {};
  readonly #elsewhere = new Map<string, number>();
  readonly #failures: CrawlFailure[] = [];
  #queue: Step[] = [];
  #running = 0;
  #asked = 0;
  #answered = 0;
  #requests = 0;
  #bytes = 0;
  #failed = 0;
  #ended: "time" | "stopped" | null = null;

  /** `stop` also ends the client's requests. `hasSession`: the client sends a cookie or Authorization. */
  constructor(client: AuditClient, limits: CrawlLimits, stop: AbortController, hasSession: boolean) {
    this.#client = client;
    this.#limits = limits;
    this.#stop = stop;
    this.#hasSession = hasSession;
    this.#pacer = new Pacer(limits.rate);
    stop.signal.addEventListener("abort", () => {
      this.#ended ??= "stopped";
    });
  }

  /** How far it is. */
  get progress(): { readonly answered: number; readonly waiting: number; readonly found: number } {
    return {
      answered: this.#answered,
      waiting: this.#queue.length + this.#running,
      found: this.#findings.length,
    };
  }

  async run(starts: readonly URL[], progress: () => void = () => {}): Promise<CrawlResult> {
    for (const url of starts) this.#hosts.add(url.host);
    for (const url of starts) this.#add({ url, depth: 0, from: null, redirects: [] });
    const timer = setTimeout(() => {
      this.#ended ??= "time";
      this.#stop.abort();
    }, this.#limits.timeMs);
    try {
      await this.#walk(progress);
    } finally {
      clearTimeout(timer);
    }
    if (this.#ended !== null) this.#count(this.#ended, this.#queue.length);
    return {
      answered: this.#answered,
      requests: this.#requests,
      bytes: this.#bytes,
      findings: [...this.#findings, ...this.#copies.findings()],
      cut: this.#cut,
      elsewhere: this.#elsewhere,
      failed: this.#failed,
      failures: this.#failures,
    };
  }

  async #walk(progress: () => void): Promise<void> {
    const { concurrency } = this.#limits;
    const running = new Set<Promise<void>>();
    for (;;) {
      const step = this.#ended === null && running.size < concurrency ? this.#queue.shift() : undefined;
      if (step === undefined) {
        if (running.size === 0) return;
        await Promise.race(running);
        continue;
      }
      const visit = this.#visit(step).finally(() => {
        running.delete(visit);
        this.#running = running.size;
        progress();
      });
      running.add(visit);
      this.#running = running.size;
    }
  }

  #add(step: Step): void {
    const { url } = step;
    if (!this.#hosts.has(url.host)) {
      this.#elsewhere.set(url.host, (this.#elsewhere.get(url.host) ?? 0) + 1);
      return;
    }
    if (this.#seen.has(url.href)) return;
    if (this.#seen.size >= this.#limits.urlsMax * WAITING_FACTOR) {
      this.#count("urls");
      return;
    }
    this.#seen.add(url.href);
    if (step.depth > this.#limits.depthMax) this.#count("depth");
    else this.#queue.push(step);
  }

  async #visit(step: Step): Promise<void> {
    const { url, from } = step;
    if (this.#asked >= this.#limits.urlsMax) {
      this.#count("urls");
      return;
    }
    if (this.#bytes >= this.#limits.bytesMax) {
      this.#count("bytes");
      return;
    }
    this.#asked++;
    try {
      const answer = await this.#get(url);
      this.#answered++;
      if (answer.isCut) this.#count("body");
      this.#findings.push(...checkAnswer(url, answer));
      this.#copies.add(url, answer);
      if (answer.status >= 400 && from !== null)
        this.#find("broken-link", url, `${answer.status}, linked from ${from}`);
      this.#follow(step, answer);
      if (answer.status === 200) {
        await this.#checkValidator(url, answer);
        await this.#checkSession(url, answer);
      }
    } catch (error) {
      if (this.#ended !== null) this.#count(this.#ended);
      else this.#fail(url, messageOf(error));
    }
  }

  /** Takes up where an answer leads. */
  #follow({ url, depth, from, redirects }: Step, answer: AuditAnswer): void {
    const location = answer.status >= 300 && answer.status < 400 ? answer.fields.get("location") : null;
    if (location !== null) {
      const target = URL.parse(location, url.href);
      if (target === null || !/^https?:$/.test(target.protocol)) {
        this.#find("broken-link", url, `${answer.status} with a Location that is no http(s) URL`);
        return;
      }
      target.hash = "";
      const passed = [...redirects, url.href];
      if (passed.length === 2)
        this.#find("redirect-chain", new URL(passed[0] ?? url.href), `by way of ${url.href}`);
      if (passed.length > REDIRECTS_MAX) this.#count("redirects");
      else this.#add({ url: target, depth, from, redirects: passed });
      return;
    }
    if (answer.text === null || answer.status >= 400) return;
    for (const link of linksOf(answer.text, answer.fields.get("content-type"), url))
      this.#add({ url: link, depth: depth + 1, from: url.href, redirects: [] });
  }

  /** Asks once more with the validators of an answer that may be kept (RFC 9110 section 13). */
  async #checkValidator(url: URL, answer: AuditAnswer): Promise<void> {
    const caching = cachingOf(answer.fields);
    if (caching.control.noStore || !hasValidator(answer.fields) || answer.hash === null) return;
    const etag = answer.fields.get("etag");
    const modified = answer.fields.get("last-modified");
    const again = await this.#get(url, {
      ...(etag === null ? {} : { "if-none-match": etag }),
      ...(modified === null ? {} : { "if-modified-since": modified }),
    });
    // Other bytes: it has really changed.
    if (again.status !== 200 || again.hash !== answer.hash) return;
    if (again.fields.get("etag") !== etag)
      this.#find("validator-unstable", url, "a second request got another ETag");
    else this.#find("validator-ignored", url, etag === null ? "Last-Modified" : "ETag");
  }

  /** With a session: is the answer that may be shared the one that everybody gets? */
  async #checkSession(url: URL, answer: AuditAnswer): Promise<void> {
    if (!this.#hasSession || !cachingOf(answer.fields).isShared || answer.hash === null) return;
    if (isAsset(url, answer.fields.get("content-type"))) return;
    const again = await this.#get(url);
    // It is another one each time: then a difference says nothing.
    if (again.hash !== answer.hash) return;
    const anonymous = await this.#get(url, {}, SESSION_FIELDS);
    if (anonymous.status !== answer.status)
      this.#find("differs-by-session", url, `without the session the status is ${anonymous.status}`);
    else if (anonymous.hash !== answer.hash) this.#find("differs-by-session", url, "the body is another one");
  }

  async #get(
    url: URL,
    fields: Readonly<Record<string, string>> = {},
    without: ReadonlySet<string> = new Set(),
  ): Promise<AuditAnswer> {
    const waitMs = this.#pacer.book(performance.now());
    if (waitMs > 0) await sleep(waitMs, undefined, { signal: this.#stop.signal });
    this.#requests++;
    const answer = await this.#client.get(url, fields, without);
    this.#bytes += answer.bytes;
    return answer;
  }

  #find(id: FindingId, url: URL, detail: string): void {
    this.#findings.push({ id, url: url.href, detail });
  }

  #fail(url: URL, problem: string): void {
    this.#failed++;
    if (this.#failures.length < FAILURES_MAX) this.#failures.push({ url: url.href, problem });
  }

  #count(cut: Cut, count = 1): void {
    if (count > 0) this.#cut[cut] = (this.#cut[cut] ?? 0) + count;
  }
}

/**
 * One node of a shield: an HTTP next hop that signs what it sends and takes only what is marked as a
 * shield's answer. Its health is known from its answers; and when an answer keeps one waiting, it is asked
 * whether it lives, so that a hanging shield is told from one that waits for a slow origin.
 */
import type { Clock } from "../../base/clock.ts";
import { Fields } from "../../http/fields.ts";
import { WatchedHop } from "../health/watched-hop.ts";
import {
  type NextHop,
  UpstreamError,
  type UpstreamRequest,
  type UpstreamResponse,
  type UpstreamTimeouts,
} from "../next-hop.ts";
import { HttpOrigin, type HttpOriginOptions } from "../origin.ts";
import {
  CONNECT_MS,
  CONNECTIONS_MAX,
  FAILURES,
  HOLD_MS,
  KEEP_ALIVE_MS,
  PROBE_EVERY_MS,
  PROBE_MS,
} from "./limits.ts";
import { PROBE_HOST, signTier, TIER_FIELD, type TierClaim, type TierMark, takeMark } from "./tier-field.ts";

/** What a node of a shield is made from. */
export interface ShieldNodeOptions {
  /** Name of the shield in the config. */
  readonly shield: string;
  readonly url: string;
  readonly tls: NonNullable<HttpOriginOptions["tls"]>;
  readonly clock: Clock;
  /** Signs requests. */
  readonly key: Buffer;
  /** Told when it goes down and when it is well again. */
  readonly tell: (message: string) => void;
}

/** An answer of a shield. */
export interface ShieldResponse extends UpstreamResponse {
  readonly mark: TierMark;
}

/** Answers that say something of the request and nothing of the shield. */
const ABOUT_THE_REQUEST: ReadonlySet<number> = new Set([400, 413, 414, 431]);
const REFUSED_FOR_THE_REQUEST: ReadonlySet<string> = new Set(["loop", "request"]);

/** A node of a shield. */
export class ShieldNode {
  readonly shield: string;
  readonly url: string;
  /** What it is called in the log. */
  readonly name: string;
  readonly hop: WatchedHop;
  readonly #marked: MarkedHop;
  readonly #options: ShieldNodeOptions;
  #probe: Promise<void> | null = null;
  #cancelNext: (() => void) | null = null;
  #closed = false;

  constructor(options: ShieldNodeOptions) {
    this.#options = options;
    this.shield = options.shield;
    this.url = options.url;
    this.name = `shield ${options.shield}`;
    this.#marked = new MarkedHop(this.name, options);
    this.hop = new WatchedHop({
      hop: this.#marked,
      clock: options.clock,
      policy: { failures: FAILURES, holdMs: HOLD_MS },
      failingStatuses: new Set(),
      slowMs: null,
      onFinding: (finding) => {
        if (finding.kind === "down") this.#down(finding.reason);
        if (finding.kind === "up") this.#tell("is up again");
      },
    });
  }

  /** Asks. Rejects with an UpstreamError when the answer is not that of a shield. */
  async fetch(
    request: UpstreamRequest,
    claim: TierClaim,
    timeouts: UpstreamTimeouts,
  ): Promise<ShieldResponse> {
    const { key, clock } = this.#options;
    const fields = request.fields.clone();
    fields.set(TIER_FIELD, signTier(key, request, { ...claim, nowMs: clock.now() }));
    // The watch and the mark hand on what they are given.
    const response = (await this.hop.fetch({ ...request, fields }, timeouts)) as ShieldResponse;
    const { valid } = response.mark;
    if (claim.asked === null || valid === null || valid >= claim.asked.sequence) return response;
    // Shields do not answer so; one that does has something older than what this node was told to forget.
    response.body?.cancel();
    throw new UpstreamError(
      "http_protocol_error",
      `${this.name} answered with what is valid up to ${valid} of the fleet's log only, asked was ${claim.asked.sequence}`,
    );
  }

  /** Asks whether it lives; one question at a time. When it does not, whoever waits for it is told. */
  probe(): void {
    if (this.#probe !== null || this.#closed) return;
    this.#cancelNext?.();
    this.#cancelNext = null;
    this.#probe = this.#ask().finally(() => {
      this.#probe = null;
    });
  }

  close(): void {
    this.#closed = true;
    this.#cancelNext?.();
    this.hop.close();
  }

  async #ask(): Promise<void> {
    const { key, clock } = this.#options;
    const { health } = this.hop;
    const late = new AbortController();
    const cancel = clock.after(PROBE_MS, () => late.abort());
    const request = {
      method: "GET",
      scheme: "http",
      authority: PROBE_HOST,
      target: "/",
      fields: new Fields(),
      body: null,
      bodyLength: null,
      signal: late.signal,
    } as const;
    request.fields.set(TIER_FIELD, signTier(key, request, { client: "", asked: null, nowMs: clock.now() }));
    const timeouts = { connectMs: PROBE_MS, firstByteMs: PROBE_MS, betweenBytesMs: PROBE_MS };
    try {
      const { body, status } = await this.#marked.fetch(request, timeouts);
      body?.cancel();
      if (status !== 204)
        throw new UpstreamError("http_protocol_error", `it answered a probe with ${status}`);
      health.checked("up", "", clock.now());
    } catch (error) {
      const reason = late.signal.aborted
        ? `it does not answer within ${PROBE_MS} ms`
        : error instanceof Error
          ? error.message
          : String(error);
      if (health.checked("down", reason, clock.now())) {
        this.#tell(`is down, others are asked: ${reason}`);
        this.hop.wentDown();
      }
      this.#later();
    } finally {
      cancel();
    }
  }

  /** Left out by what requests came to: it is asked until it answers. */
  #down(reason: string): void {
    this.#tell(`is down, others are asked: ${reason}`);
    this.#later();
  }

  #later(): void {
    if (this.#closed || this.#cancelNext !== null) return;
    this.#cancelNext = this.#options.clock.after(PROBE_EVERY_MS, () => {
      this.#cancelNext = null;
      this.probe();
    });
  }

  #tell(what: string): void {
    if (!this.#closed) this.#options.tell(`${this.name} at ${this.url} ${what}`);
  }
}

/** Gives on what is marked, and nothing else. */
class MarkedHop implements NextHop {
  readonly name: string;
  readonly #hop: HttpOrigin;

  constructor(name: string, { url, tls, clock }: ShieldNodeOptions) {
    this.name = name;
    this.#hop = new HttpOrigin({
      name,
      url,
      tls,
      clock,
      connectionsMax: CONNECTIONS_MAX,
      keepAliveMs: KEEP_ALIVE_MS,
    });
  }

  async fetch(request: UpstreamRequest, timeouts: UpstreamTimeouts): Promise<ShieldResponse> {
    const response = await this.#hop.fetch(request, {
      ...timeouts,
      connectMs: Math.min(timeouts.connectMs, CONNECT_MS),
    });
    const mark = takeMark(response.fields);
    if (mark !== null && mark.refused === null) return { ...response, mark };
    response.body?.cancel();
    const isAboutRequest =
      mark === null
        ? ABOUT_THE_REQUEST.has(response.status)
        : REFUSED_FOR_THE_REQUEST.has(mark.refused ?? "");
    throw new UpstreamError(
      isAboutRequest ? "http_request_error" : "http_protocol_error",
      mark === null
        ? `${this.name} answered ${response.status}, and not as a shield: it may not accept edges`
        : `${this.name} refused a request (${mark.refused})`,
      // Who refuses has not acted on it.
      { retryable: mark !== null },
    );
  }

  close(): void {
    this.#hop.close();
  }
}

/**
 * Asks origins on purpose whether they are well, and comes to a verdict when enough checks in a row
 * agree. Each check has a connection of its own: a kept-alive one says nothing about whether new ones
 * are taken.
 */
import type { Clock } from "../../base/clock.ts";
import { messageOf } from "../../base/errors.ts";
import { Fields } from "../../http/fields.ts";
import type { NextHop, UpstreamResponse } from "../next-hop.ts";
import { CHECK_BODY_BYTES_MAX, CHECKS_AT_ONCE_MAX, FIRST_CHECK_MS_MAX, REASON_CHARS_MAX } from "./limits.ts";

/** How an origin is checked. */
export interface CheckPolicy {
  readonly path: string;
  readonly intervalMs: number;
  /** For the whole check, connection and body included, in milliseconds. */
  readonly timeoutMs: number;
  /** Failed checks in a row that make it down, good ones that make it up. */
  readonly unhealthyAfter: number;
  readonly healthyAfter: number;
  /** Is an answer with this status a good one? */
  expects(status: number): boolean;
  /** The expected statuses in words. */
  readonly expected: string;
}

/** An origin to be checked. */
export interface CheckTarget {
  readonly hop: NextHop;
  readonly scheme: "http" | "https";
  readonly authority: string;
  readonly policy: CheckPolicy;
  /** What is known from before: a checker that takes over begins there. */
  verdict(): "up" | "down" | null;
}

/** The last check of an origin. */
export interface CheckResult {
  readonly ok: boolean;
  /** When it ended, in ms since the epoch. */
  readonly atMs: number;
  readonly durationMs: number;
  /** What was wrong, or the status. */
  readonly said: string;
}

/** What a checker tells. */
export interface CheckerOptions {
  readonly clock: Clock;
  /** Told of each new verdict; `isFirst` when there was none before. */
  readonly onVerdict: (key: string, verdict: "up" | "down", reason: string, isFirst: boolean) => void;
  /** Told of every answer, whatever it came to. */
  readonly onAnswer: (key: string, response: UpstreamResponse) => void;
}

interface Checked {
  readonly target: CheckTarget;
  verdict: "up" | "down" | null;
  good: number;
  bad: number;
  last: CheckResult | null;
  cancel: () => void;
  isOver: boolean;
}

/** The health checks of a node. */
export class HealthChecker {
  readonly #options: CheckerOptions;
  readonly #checked = new Map<string, Checked>();
  #underWay = 0;
  #waiting: (() => void)[] = [];

  constructor(options: CheckerOptions) {
    this.#options = options;
  }

  /** Checks these from now on; one whose target is the same object goes on as it was. */
  update(targets: ReadonlyMap<string, CheckTarget>): void {
    for (const [key, checked] of this.#checked) {
      if (targets.get(key) === checked.target) continue;
      this.#end(checked);
      this.#checked.delete(key);
    }
    for (const [key, target] of targets) {
      if (this.#checked.has(key)) continue;
      const checked: Checked = {
        target,
        verdict: target.verdict(),
        good: 0,
        bad: 0,
        last: null,
        cancel: () => {},
        isOver: false,
      };
      this.#checked.set(key, checked);
      const spreadMs = Math.min(FIRST_CHECK_MS_MAX, target.policy.intervalMs);
      this.#arm(key, checked, Bun.hash.xxHash32(key) % spreadMs);
    }
  }

  /** The last check of an origin; null when there was none. */
  last(key: string): CheckResult | null {
    return this.#checked.get(key)?.last ?? null;
  }

  stop(): void {
    this.update(new Map());
  }

  #end(checked: Checked): void {
    checked.isOver = true;
    checked.cancel();
  }

  #arm(key: string, checked: Checked, delayMs: number): void {
    checked.cancel = this.#options.clock.after(delayMs, () => void this.#run(key, checked));
  }

  async #run(key: string, checked: Checked): Promise<void> {
    const { clock } = this.#options;
    if (this.#underWay >= CHECKS_AT_ONCE_MAX)
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    if (!checked.isOver) {
      this.#underWay++;
      const startMs = clock.now();
      const said = await this.#check(key, checked);
      this.#underWay--;
      const atMs = clock.now();
      if (!checked.isOver) {
        this.#count(key, checked, { ...said, atMs, durationMs: atMs - startMs });
        this.#arm(key, checked, Math.max(0, checked.target.policy.intervalMs - (atMs - startMs)));
      }
    }
    this.#waiting.shift()?.();
  }

  /** One check. Never rejects. */
  async #check(key: string, checked: Checked): Promise<{ ok: boolean; said: string }> {
    const { hop, scheme, authority, policy } = checked.target;
    const { timeoutMs } = policy;
    const controller = new AbortController();
    let isLate = false;
    const cancelTimer = this.#options.clock.after(timeoutMs, () => {
      isLate = true;
      controller.abort();
    });
    checked.cancel = () => controller.abort();
    try {
      const response = await hop.fetch(
        {
          method: "GET",
          scheme,
          authority,
          target: policy.path,
          fields: Fields.from([
            ["user-agent", "proxima-health-check"],
            ["accept", "*/*"],
            ["cache-control", "no-cache"],
          ]),
          body: null,
          bodyLength: null,
          signal: controller.signal,
        },
        { connectMs: timeoutMs, firstByteMs: timeoutMs, betweenBytesMs: timeoutMs },
      );
      this.#options.onAnswer(key, response);
      await readSome(response);
      return policy.expects(response.status)
        ? { ok: true, said: `status ${response.status}` }
        : { ok: false, said: `status ${response.status}, expected ${policy.expected}` };
    } catch (error) {
      const said = isLate ? `no whole answer within ${timeoutMs} ms` : messageOf(error);
      return { ok: false, said: said.slice(0, REASON_CHARS_MAX) };
    } finally {
      cancelTimer();
    }
  }

  #count(key: string, checked: Checked, result: CheckResult): void {
    const { policy } = checked.target;
    checked.last = result;
    if (result.ok) {
      checked.good++;
      checked.bad = 0;
    } else {
      checked.bad++;
      checked.good = 0;
    }
    const isFirst = checked.verdict === null;
    if (checked.bad >= policy.unhealthyAfter && checked.verdict !== "down") {
      checked.verdict = "down";
      this.#options.onVerdict(
        key,
        "down",
        `${checksInARow(checked.bad)} failed, the last: ${result.said}`,
        isFirst,
      );
    } else if (checked.good >= policy.healthyAfter && checked.verdict !== "up") {
      checked.verdict = "up";
      this.#options.onVerdict(key, "up", `${checksInARow(checked.good)} went well`, isFirst);
    }
  }
}

function checksInARow(count: number): string {
  return count === 1 ? "1 health check" : `${count} health checks in a row`;
}

/** Reads an answer to its end, or as far as it is worth. Rejects when it breaks off. */
async function readSome({ body }: UpstreamResponse): Promise<void> {
  if (body === null) return;
  let bytes = 0;
  for (let piece = await body.read(); piece !== null; piece = await body.read()) {
    bytes += piece.byteLength;
    if (bytes > CHECK_BODY_BYTES_MAX) {
      body.cancel();
      return;
    }
  }
}

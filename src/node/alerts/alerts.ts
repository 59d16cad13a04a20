/**
 * The node's alerts: it looks at what the node knows from time to time, takes events when they happen, and
 * hands what is new to the couriers of the channels.
 */
import { hostname } from "node:os";
import type { Clock } from "../../base/clock.ts";
import { messageOf, ProximaError } from "../../base/errors.ts";
import type { AlertsConfig } from "../../config/schema.ts";
import type { CertificateEnd } from "../../edge/tls/material.ts";
import type { NodeLog } from "../../service/log.ts";
import type { StatsSnapshot } from "../../telemetry/stats.ts";
import type { AlertChange, AlertEvent, Condition } from "./alert.ts";
import { AlertBoard } from "./board.ts";
import { channelOf } from "./channel.ts";
import { certificateConditions, errorRateConditions, hitRatioConditions } from "./conditions.ts";
import { type ChannelStatus, Courier } from "./courier.ts";
import type { Environment } from "./secret.ts";
import { Traffic } from "./traffic.ts";

/** Origins that are out at once; the rest is not followed. */
const ORIGINS_OUT_MAX = 10_000;

/** What the rules look at. */
export interface AlertView {
  stats(): StatsSnapshot | Promise<StatsSnapshot>;
  /** Certificate files in force. */
  certificates(): readonly CertificateEnd[];
}

/** What alerts are made of. */
export interface AlertsSetup {
  /** Undefined: nobody is told, nothing is looked at. */
  readonly config: AlertsConfig | undefined;
  readonly clock: Clock;
  readonly log: NodeLog;
  readonly env?: Environment;
  readonly random?: () => number;
}

/** What `GET /v1/alerts` shows. */
export interface AlertsStatus {
  readonly channels: readonly ChannelStatus[];
  readonly firing: readonly (Condition & { readonly since: string })[];
}

/** How a test of a channel ended. */
export interface ChannelTest {
  readonly channel: string;
  readonly kind: ChannelStatus["kind"];
  readonly delivered: boolean;
  /** Why not; null when it was. */
  readonly problem: string | null;
}

type Rules = AlertsConfig["rules"];

/** Alerts of a node. */
export class Alerts {
  readonly #setup: AlertsSetup;
  #config: AlertsConfig | undefined;
  readonly #board = new AlertBoard();
  readonly #couriers = new Map<string, { readonly courier: Courier; text: string }>();
  /** Origins that are left out, by site and name. */
  readonly #out = new Map<string, Condition>();
  #traffic = { hitRatio: new Traffic(), errorRate: new Traffic() };
  #view: AlertView | null = null;
  #cancelTimer: () => void = () => {};
  #problem: string | null = null;
  #stopped = false;

  constructor(setup: AlertsSetup) {
    this.#setup = setup;
    this.#config = setup.config;
    this.#setCouriers();
  }

  /** Begins to look. */
  start(view: AlertView): void {
    this.#view = view;
    this.#arm();
  }

  /** Something happened. May be called before `start`, and with no alerts configured. */
  event(event: AlertEvent): void {
    const subject = `${event.site}/${event.origin}`;
    if (event.kind === "recovery") this.#out.delete(subject);
    else if (this.#out.has(subject) || this.#out.size < ORIGINS_OUT_MAX) {
      this.#out.set(subject, {
        kind: "failover",
        subject,
        severity: "critical",
        summary: `origin ${event.origin} of site ${event.site} is left out: ${event.reason}`,
        details: { site: event.site, origin: event.origin, reason: event.reason },
      });
    }
    this.#lookAtOrigins();
  }

  /** Puts another config in force; what fires keeps firing. */
  configure(config: AlertsConfig | undefined): void {
    this.#config = config;
    this.#setCouriers();
    this.#cancelTimer();
    this.#arm();
  }

  status(): AlertsStatus {
    return {
      channels: [...this.#couriers.values()].map(({ courier }) => courier.status()),
      firing: this.#board
        .firing()
        .map(({ condition, sinceMs }) => ({ ...condition, since: new Date(sinceMs).toISOString() })),
    };
  }

  /** Sends a test to the channel of a name, or to all. Rejects with a ProximaError (source viewer) when there is none. */
  async test(to: string | null): Promise<ChannelTest[]> {
    const names = [...this.#couriers.keys()];
    if (names.length === 0) throw unknownChannel("this node has no alert channels (alerts.channels)");
    if (to !== null && !names.includes(to))
      throw unknownChannel(
        `there is no alert channel ${JSON.stringify(to.slice(0, 100))}; there are ${names.join(", ")}`,
      );
    const nowMs = this.#setup.clock.now();
    const change: AlertChange = {
      state: "firing",
      sinceMs: nowMs,
      atMs: nowMs,
      condition: {
        kind: "test",
        subject: "proxima alert test",
        severity: "warning",
        summary: "this is a test: nothing is wrong",
        details: {},
      },
    };
    return await Promise.all(
      [...this.#couriers]
        .filter(([name]) => to === null || name === to)
        .map(async ([name, { courier }]) => {
          const problem = await courier.test(change);
          return { channel: name, kind: courier.status().kind, delivered: problem === null, problem };
        }),
    );
  }

  /** Looks at the rules now. Never rejects. */
  async look(): Promise<void> {
    const config = this.#config;
    const view = this.#view;
    if (config === undefined || view === null) return;
    try {
      const { rules } = config;
      const stats = await view.stats();
      if (this.#stopped || config !== this.#config) return;
      const nowMs = this.#setup.clock.now();
      const traffic = (rule: "hitRatio" | "errorRate") =>
        this.#traffic[rule].take(stats, nowMs, rules[rule].windowSeconds * 1_000);
      this.#update("certificate", 0, certificateConditions(rules.certificate, view.certificates(), nowMs));
      this.#update(
        "hitRatio",
        rules.hitRatio.holdSeconds,
        hitRatioConditions(rules.hitRatio, traffic("hitRatio")),
      );
      this.#update(
        "errorRate",
        rules.errorRate.holdSeconds,
        errorRateConditions(rules.errorRate, traffic("errorRate")),
      );
      this.#lookAtOrigins();
      this.#problem = null;
    } catch (error) {
      const problem = messageOf(error);
      if (problem !== this.#problem)
        this.#setup.log("error", `alerts: the rules can not be looked at: ${problem}`);
      this.#problem = problem;
    }
  }

  /** Ends it; what waits is tried once more, for a moment. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancelTimer();
    await Promise.all([...this.#couriers.values()].map(({ courier }) => courier.stop()));
  }

  #arm(): void {
    if (this.#stopped || this.#view === null || this.#config === undefined) return;
    this.#cancelTimer = this.#setup.clock.after(this.#config.everySeconds * 1_000, () => {
      const config = this.#config;
      void this.look().finally(() => {
        // A new config has armed it itself.
        if (config === this.#config) this.#arm();
      });
    });
  }

  #lookAtOrigins(): void {
    if (this.#config === undefined) return;
    this.#update("failover", this.#config.rules.failover.holdSeconds, [...this.#out.values()]);
  }

  #update(kind: keyof Rules, holdSeconds: number, conditions: readonly Condition[]): void {
    const config = this.#config;
    if (config === undefined || this.#stopped) return;
    const rule = config.rules[kind];
    if (!rule.enabled) {
      this.#board.forget(kind);
      return;
    }
    const changes = this.#board.update(kind, conditions, this.#setup.clock.now(), {
      holdMs: holdSeconds * 1_000,
      reminderMs: config.reminderSeconds * 1_000,
    });
    for (const { state, condition } of changes) {
      if (state === "reminder") continue;
      const level = state === "resolved" ? "info" : "warning";
      this.#setup.log(level, `alert ${state}: ${condition.summary}`);
    }
    for (const [name, { courier }] of this.#couriers)
      if (rule.to === undefined || rule.to.includes(name)) courier.tell(changes);
  }

  /** A courier for each channel; one whose channel did not change keeps what waits, and so does one whose channel did. */
  #setCouriers(): void {
    const { clock, log, env = process.env, random = Math.random } = this.#setup;
    const channels = this.#config?.channels ?? {};
    const node = this.#config?.node ?? hostname();
    for (const [name, { courier }] of [...this.#couriers]) {
      if (Object.hasOwn(channels, name)) continue;
      this.#couriers.delete(name);
      void courier.stop();
    }
    for (const [name, config] of Object.entries(channels)) {
      const text = JSON.stringify([node, config]);
      const kept = this.#couriers.get(name);
      if (kept?.text === text) continue;
      const channel = channelOf(config, clock, env);
      if (kept === undefined) {
        const courier = new Courier({ name, channel, node, clock, log, random });
        this.#couriers.set(name, { courier, text });
      } else {
        kept.courier.replace(channel, node);
        kept.text = text;
      }
    }
  }
}

function unknownChannel(message: string): ProximaError {
  return new ProximaError("alert_channel_unknown", message, { source: "viewer" });
}

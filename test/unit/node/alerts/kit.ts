/** What tests of alerts share: counters, a receiver of webhooks, and a config. */

import { createHmac } from "node:crypto";
import { ManualClock } from "../../../../src/base/clock.ts";
import { parseConfig } from "../../../../src/config/parse.ts";
import type { AlertsConfig } from "../../../../src/config/schema.ts";
import { Stats, type StatsSnapshot } from "../../../../src/telemetry/stats.ts";
import { NO_GAUGES } from "../../../kit/gauges.ts";

/** The alerts part of a config, with its defaults. */
export function alertsConfig(alerts: object): AlertsConfig {
  const result = parseConfig({ alerts, sites: {} });
  if (!result.ok || result.config.alerts === undefined)
    throw new Error(result.ok ? "no alerts" : JSON.stringify(result.problems));
  return result.config.alerts;
}

/** Counters that a test increases. */
export class TestStats {
  readonly stats = new Stats(new ManualClock());

  /** All counters, of a node that has run for a day. */
  snapshot(uptimeSeconds = 86_400): StatsSnapshot {
    const counters = this.stats.snapshot(NO_GAUGES);
    return { ...counters, uptimeSeconds };
  }

  /** Requests of a site that ended so. */
  add(site: string, counts: { hit?: number; miss?: number; error?: number }): void {
    const counted = this.stats.site(site);
    for (let i = 0; i < (counts.hit ?? 0); i++) counted.record("hit", 200, 1);
    for (let i = 0; i < (counts.miss ?? 0); i++) counted.record("miss", 200, 1);
    for (let i = 0; i < (counts.error ?? 0); i++) counted.record("bypass", 502, 1);
  }
}

/** A request that a webhook got. */
export interface Hook {
  readonly id: string;
  readonly timestamp: number;
  readonly body: string;
  readonly alerts: { key: string; state: string; summary: string; severity: string }[];
}

/**
 * A receiver that does what Standard Webhooks asks of one: it checks the signature, refuses what is older than
 * five minutes, and takes each id once.
 */
export function startReceiver(secret: string | null, clock: ManualClock) {
  const hooks: Hook[] = [];
  const refused: string[] = [];
  let status = 200;
  let held: Promise<void> = Promise.resolve();
  let fields: Record<string, string> = {};
  /** Ids of all attempts. */
  const ids: string[] = [];
  const key = secret?.startsWith("whsec_") ? Buffer.from(secret.slice(6), "base64") : secret;
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    async fetch(request) {
      const body = await request.text();
      const id = request.headers.get("webhook-id") ?? "";
      ids.push(id);
      const timestamp = Number(request.headers.get("webhook-timestamp"));
      if (key !== null) {
        const mac = createHmac("sha256", key).update(`${id}.${timestamp}.${body}`).digest("base64");
        const refusal =
          request.headers.get("webhook-signature") !== `v1,${mac}`
            ? "signature"
            : Math.abs(clock.now() / 1_000 - timestamp) > 300
              ? "old"
              : hooks.some((hook) => hook.id === id)
                ? "again"
                : null;
        if (refusal !== null) {
          refused.push(refusal);
          return new Response(null, { status: 401 });
        }
      }
      if (status === 200) hooks.push({ id, timestamp, body, alerts: JSON.parse(body).data?.alerts ?? [] });
      await held;
      return new Response("thanks", { status, headers: fields });
    },
  });
  return {
    url: `http://127.0.0.1:${server.port}/secret-path`,
    hooks,
    refused,
    ids,
    attempts: () => ids.length,
    answer(next: number, more: Record<string, string> = {}) {
      status = next;
      fields = more;
    },
    /** Answers nobody until the function returned is called. */
    hold(): () => void {
      const { promise, resolve } = Promise.withResolvers<void>();
      held = promise;
      return resolve;
    },
    stop: () => server.stop(true),
  };
}

/** Waits until something is so: a delivery over a socket takes its time. */
export async function until(isSo: () => boolean): Promise<void> {
  const endMs = performance.now() + 5_000;
  while (!isSo()) {
    if (performance.now() > endMs) throw new Error("it did not come to be");
    await Bun.sleep(1);
  }
}

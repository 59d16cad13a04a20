import { expect, test } from "bun:test";
import { parseConfig } from "../../../src/config/parse.ts";
import type { AlertEvent } from "../../../src/node/alerts/alert.ts";
import { OriginAlerts } from "../../../src/node/origin-alerts.ts";

const ORIGINS = { a: { url: "http://a" }, b: { url: "http://b" }, alone: { url: "http://c" } };
function sitesOf(site: object) {
  const parsed = parseConfig({
    sites: {
      shop: {
        hosts: ["*"],
        origins: ORIGINS,
        originGroups: { both: { members: ["a", "b"] } },
        behaviors: [
          { path: "/alone", origin: "alone" },
          { path: "/*", origin: "both" },
        ],
        ...site,
      },
    },
  });
  if (!parsed.ok) throw new Error("the config is not valid");
  return parsed.config.sites;
}
function made() {
  const told: string[] = [];
  const tell = (event: AlertEvent) => told.push(`${event.kind} ${event.origin}`);
  return { told, alerts: new OriginAlerts(tell, sitesOf({})) };
}
const at = { site: "shop", atMs: 0 };

test("an origin that its groups leave out is an alert, by requests or by checks, until it is up", () => {
  const { told, alerts } = made();
  alerts.take({ ...at, origin: "a", kind: "down", untilMs: 1, reason: "r" });
  alerts.take({ ...at, origin: "a", kind: "checks", verdict: "up", isFirst: false, reason: "r" });
  expect(told).toEqual(["failover a"]);
  alerts.take({ ...at, origin: "a", kind: "up" });
  alerts.take({ ...at, origin: "a", kind: "up" });
  alerts.take({ ...at, origin: "b", kind: "checks", verdict: "down", isFirst: true, reason: "r" });
  expect(told).toEqual(["failover a", "recovery a", "failover b"]);
});

test("one that nothing stands for, or that is only degraded, is none", () => {
  const { told, alerts } = made();
  alerts.take({ ...at, origin: "alone", kind: "down", untilMs: 1, reason: "r" });
  alerts.take({ ...at, origin: "gone", kind: "down", untilMs: 1, reason: "r" });
  alerts.take({ ...at, origin: "a", kind: "degraded", untilMs: 1, began: true });
  expect(told).toEqual([]);
});

test("one that a new config has not any more, or has as another one, is out no longer", () => {
  for (const site of [
    { origins: { ...ORIGINS, a: { url: "http://other" } } },
    { originGroups: { both: { members: ["b"] } } },
  ]) {
    const { told, alerts } = made();
    alerts.take({ ...at, origin: "a", kind: "down", untilMs: 1, reason: "r" });
    alerts.retain(sitesOf({ http3: false }));
    expect(told).toEqual(["failover a"]);
    alerts.retain(sitesOf(site));
    alerts.retain({});
    expect(told).toEqual(["failover a", "recovery a"]);
  }
});

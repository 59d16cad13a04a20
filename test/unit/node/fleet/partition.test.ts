/** A node that can not follow its fleet's log: what it tells its edge, by the clock. */

import { afterEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ManualClock } from "../../../../src/base/clock.ts";
import { parseConfig } from "../../../../src/config/parse.ts";
import type { FleetStanding } from "../../../../src/edge/settings.ts";
import { Fleet, type FleetTarget } from "../../../../src/node/fleet/fleet.ts";
import { PurgeLog } from "../../../../src/node/purge-log.ts";
import { Stats } from "../../../../src/telemetry/stats.ts";
import { siteConfig, startTestControl, type TestControl } from "../../../kit/control.ts";
import { NO_GAUGES } from "../../../kit/gauges.ts";

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});

const LIMIT_SECONDS = 60;

/** A node of a fleet, with its clock. */
async function node(control: TestControl, folder: string, options: { token?: string; limit?: number }) {
  const clock = new ManualClock();
  const parsed = parseConfig({
    dataDir: folder,
    join: {
      control: control.url,
      name: "node",
      ...(options.limit === undefined ? {} : { revalidateAfterSeconds: options.limit }),
    },
    sites: {},
  });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems));
  const purgeLog = new PurgeLog(join(folder, "purges.db"), false);
  const fleet = new Fleet(
    {
      config: parsed.config,
      joinToken: options.token ?? null,
      fileOf: (name) => join(folder, name),
      purgeLog,
      version: "0.0.0-test",
      clock,
      setClock: null,
      log: () => {},
      bus: null,
    },
    null,
  );
  undo.push(() => purgeLog.close());
  undo.push(() => fleet.close());
  const told: FleetStanding[] = [];
  const stats = new Stats(clock);
  const target: FleetTarget = {
    applySites: async () => null,
    takePurges: async (entries, position) => void purgeLog.take(entries, position),
    setFleet: (standing) => void told.push(standing),
    originsOut: () => [],
    fill: () => {},
    stopFilling: () => {},
    ready: () => ({ ready: true, reasons: [] }),
    orphans: () => Promise.resolve([]),
    stats: () => stats.snapshot(NO_GAUGES),
  };
  await fleet.start();
  fleet.run(target);
  const until = async (what: string, isSo: (last: FleetStanding | undefined) => boolean) => {
    for (let i = 0; !isSo(told.at(-1)); i++) {
      if (i > 500) throw new Error(`it was not told of ${what}: ${JSON.stringify(told.at(-1))}`);
      // Retries wait by the clock.
      clock.advance(300);
      await Bun.sleep(10);
    }
  };
  return { clock, told, fleet, until };
}

async function setUp() {
  const folder = mkdtempSync(join(tmpdir(), "proxima-partition-"));
  undo.push(() => rmSync(folder, { recursive: true, force: true }));
  const control = await startTestControl();
  let isUp = true;
  const stop = async () => {
    if (isUp) await control.stop();
    isUp = false;
  };
  undo.push(stop);
  await control.ask("POST", "/v1/apply", { sites: { shop: siteConfig("shop.test") } });
  const token: string = (await control.ask("POST", "/v1/join-tokens", {})).value.secret;
  return { folder, control, token, stop };
}

test("with a limit it has to validate after so long, and not before", async () => {
  const { folder, control, token } = await setUp();
  const { clock, told, until } = await node(control, folder, { token, limit: LIMIT_SECONDS });
  await until("being in step", (last) => last?.unsynced === false);
  expect(told.every(({ mustValidate }) => !mustValidate)).toBe(true);
  await control.ask("DELETE", "/v1/nodes/node");
  await until("being out of step", (last) => last?.unsynced === true);
  expect(told.at(-1)?.mustValidate).toBe(false);
  const sinceMs = clock.now();
  await until("having to validate", (last) => last?.mustValidate === true);
  expect(clock.now() - sinceMs).toBeGreaterThan((LIMIT_SECONDS - 2) * 1_000);
  expect(clock.now() - sinceMs).toBeLessThan((LIMIT_SECONDS + 2) * 1_000);
}, 20_000);

test("without one it serves on, for whatever time", async () => {
  const { folder, control, token } = await setUp();
  const { clock, told, until } = await node(control, folder, { token });
  await until("being in step", (last) => last?.unsynced === false);
  await control.ask("DELETE", "/v1/nodes/node");
  await until("being out of step", (last) => last?.unsynced === true);
  clock.advance(30 * 86_400_000);
  expect(told.every(({ mustValidate }) => !mustValidate)).toBe(true);
}, 20_000);

test("one that starts without the log has to validate at once, where there is a limit", async () => {
  const { folder, control, token, stop } = await setUp();
  const first = await node(control, folder, { token, limit: LIMIT_SECONDS });
  await first.until("being in step", (last) => last?.unsynced === false);
  await undo.pop()?.();
  await undo.pop()?.();
  await stop();
  const second = await node(control, folder, { limit: LIMIT_SECONDS });
  expect(second.told[0]).toMatchObject({ unsynced: true, mustValidate: true });
}, 20_000);

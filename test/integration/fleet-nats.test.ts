/** A fleet whose log goes over NATS, with processes that are killed and cut off; the same without a bus. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type FleetEdge, TestFleet, until } from "../kit/fleet.ts";
import { fleetStorm } from "../kit/fleet-storm.ts";
import { startNats, type TestNats } from "../kit/nats.ts";
import { steadyLoad } from "../kit/steady-load.ts";

const PURGES = 1_000;

describe("over three NATS servers", () => {
  let nats: TestNats;
  beforeAll(async () => {
    nats = await startNats(3);
  }, 30_000);
  afterAll(async () => {
    await nats?.stop();
  });

  test("1,000 purges over kills of the stream's leader, the control plane and an edge, with one cut off and one late: each is applied everywhere, in order", async () => {
    const report = await fleetStorm(nats, PURGES);
    expect(report.purges).toBe(PURGES);
    expect(report.requests).toBeGreaterThan(100);
  }, 60_000);
});

test("the same without a bus", async () => {
  const report = await fleetStorm(null, PURGES);
  expect(report.purges).toBe(PURGES);
}, 60_000);

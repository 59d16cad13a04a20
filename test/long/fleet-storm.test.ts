/**
 * Storms of purges over kills, ten times in a row, each with servers and a fleet of its own:
 * `npm run test:long -- fleet-storm`. The short form is test/integration/fleet-nats.test.ts.
 */
import { expect, test } from "bun:test";
import { fleetStorm } from "../kit/fleet-storm.ts";
import { startNats } from "../kit/nats.ts";

const RUNS = Number(process.env.STORMS ?? 10);
const PURGES = 1_000;

test(`${RUNS} storms over three NATS servers: every acknowledged purge is applied on every node, in order`, async () => {
  for (let run = 1; run <= RUNS; run++) {
    const nats = await startNats(3);
    try {
      const { purges, requests, repeated, behindMs } = await fleetStorm(nats, PURGES);
      expect(purges).toBe(PURGES);
      console.log(
        `storm ${run}: ${purges} purges, ${repeated} orders repeated, ${requests} viewers' requests, all applied ${Math.round(behindMs)} ms after the last order`,
      );
    } finally {
      await nats.stop();
    }
  }
}, 1_200_000);

test(`${RUNS} storms without a bus`, async () => {
  for (let run = 1; run <= RUNS; run++) {
    const { purges, requests, repeated, behindMs } = await fleetStorm(null, PURGES);
    expect(purges).toBe(PURGES);
    console.log(
      `storm ${run}: ${purges} purges, ${repeated} orders repeated, ${requests} viewers' requests, all applied ${Math.round(behindMs)} ms after the last order`,
    );
  }
}, 1_200_000);

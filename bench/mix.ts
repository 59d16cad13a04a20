/**
 * The realistic mix at a fixed rate, and what two workers make of it: two measures of `npm run bench`, beside
 * nginx where that is installed.
 *
 *   npm run bench -- mix [latency|workers] [rate]
 */
import { mixLatency } from "./compare/measures/mix.ts";
import { scaling } from "./compare/measures/scaling.ts";
import { findProgram } from "./compare/packages.ts";
import { OTHERS } from "./compare/peers/all.ts";
import { DEFAULT_CACHE_BYTES, proxima, SHIPPED } from "./compare/peers/proxima.ts";
import type { Measure } from "./compare/results.ts";
import { setStage } from "./compare/stage.ts";

const OBJECTS = 200_000;
const [which, rate = "3000"] = process.argv.slice(2);
const stage = await setStage();
try {
  const ours = proxima(SHIPPED);
  const found: Measure[] = [];
  if (which !== "workers") {
    const others = OTHERS.filter(({ name }) => name === "nginx" && findProgram(name) !== null);
    const running = [];
    for (const peer of [ours, ...others])
      running.push(await peer.start(stage, { cacheBytes: DEFAULT_CACHE_BYTES }));
    const options = { objects: OBJECTS, rounds: 3, rate: Number(rate), seconds: 10, warm: OBJECTS };
    found.push(...(await mixLatency(stage, running, options)));
    for (const one of running) await one.stop();
  }
  if (which !== "latency")
    found.push(...(await scaling(stage, ours, { objects: OBJECTS, rounds: 3, seconds: 5 })));
  for (const { measure, peer, figures, void: why } of found) {
    const told = Object.entries(figures).map(
      ([name, value]) => `${name} ${typeof value === "number" ? Math.round(value * 100) / 100 : value}`,
    );
    console.log(`${measure}, ${peer}: ${why === null ? told.join(", ") : `void: ${why}`}`);
  }
} finally {
  await stage.stop();
}

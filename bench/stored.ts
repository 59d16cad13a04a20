/**
 * One edge with very many stored objects of 1 KB: what each costs in memory, a purge of a tag among them, and
 * a start with as many on disk. The measures of `npm run bench`, without the other servers.
 *
 *   npm run bench -- stored [objects] [memory|start]
 */
import { startUp } from "./compare/measures/startup.ts";
import { storedObjects } from "./compare/measures/stored.ts";
import { proxima, SHIPPED } from "./compare/peers/proxima.ts";
import type { Measure } from "./compare/results.ts";
import { setStage } from "./compare/stage.ts";

const [objects = "1000000", which] = process.argv.slice(2);
const count = Number(objects);
if (!Number.isSafeInteger(count) || count < 1)
  throw new Error(`${objects}: a number of objects, such as 1000000`);
const stage = await setStage();
try {
  const found: Measure[] = [];
  if (which !== "start") found.push(...(await storedObjects(stage, [proxima(SHIPPED)], count)));
  if (which !== "memory") found.push(await startUp(stage, count));
  for (const { measure, figures, void: why } of found) {
    const told = Object.entries(figures).map(
      ([name, value]) => `${name} ${typeof value === "number" ? Math.round(value) : value}`,
    );
    console.log(`${measure}: ${told.join(", ")}${why === null ? "" : ` (void: ${why})`}`);
  }
} finally {
  await stage.stop();
}

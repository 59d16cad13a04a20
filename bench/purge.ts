/**
 * A purge of one tag on many stored objects: how long until nothing older is served, how long the sweep
 * takes behind it, and the longest that it holds the event loop.
 *
 *   npm run bench -- purge [objects]
 */
import { systemClock } from "../src/base/clock.ts";
import { MemoryStore } from "../src/cache/store/memory.ts";
import { Flights } from "../src/edge/flights.ts";
import { EdgePurges } from "../src/edge/purges.ts";
import { Fields } from "../src/http/fields.ts";

const count = Number(process.argv[2] ?? 1_000_000);
const store = new MemoryStore({ bytesMax: 64 * 2 ** 30, objectBytesMax: 2 ** 20 });
const purges = new EdgePurges({ store, disk: null, flights: new Flights(), clock: systemClock });
const now = Date.now();
const fields = Fields.from([["content-type", "text/html"]]);
const body = new Uint8Array(16);
for (let i = 0; i < count; i++) {
  store.put(
    `shop https://shop.example/p/${i}`,
    [],
    "",
    {
      status: 200,
      fields,
      body,
      coding: "identity",
      negotiable: false,
      freshness: {
        source: "max-age",
        explicit: true,
        bornMs: now,
        freshUntilMs: now + 1e7,
        whileRevalidateUntilMs: now + 1e7,
        ifErrorUntilMs: now + 1e7,
        mustRevalidate: false,
      },
      tags: [`t${i % 100}`, "all"],
      validSequence: 0,
      validLocal: 0,
      etag: null,
      lastModifiedMs: null,
      dateMs: now,
      storedAtMs: now,
    },
    64,
  );
}
const viewer = Fields.from([["host", "shop.example"]]);
let longestMs = 0;
let last = performance.now();
const watch = setInterval(() => {
  longestMs = Math.max(longestMs, performance.now() - last - 1);
  last = performance.now();
}, 1);
await Bun.sleep(100);
longestMs = 0;
const startMs = performance.now();
purges.apply({
  sequence: 1,
  site: "shop",
  scope: "tag",
  targets: ["t7"],
  mode: "hard",
  acceptedMs: now,
});
const appliedMs = performance.now() - startMs;
const gone = purges.find("shop https://shop.example/p/107", "", viewer) === null;
const kept = purges.find("shop https://shop.example/p/108", "", viewer) !== null;
const objects = await purges.countedOf(1);
const sweptMs = performance.now() - startMs;
clearInterval(watch);
console.log(
  `${count} objects: applied in ${(appliedMs * 1000).toFixed(0)} us, ${objects} objects counted and gone after ${sweptMs.toFixed(0)} ms, event loop held ${longestMs.toFixed(1)} ms at most; the purged one is ${gone ? "gone" : "STILL THERE"}, another ${kept ? "is there" : "IS GONE"}; marks left: ${purges.marks}`,
);
process.exit(0);

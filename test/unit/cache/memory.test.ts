import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { MemoryStore } from "../../../src/cache/store/memory.ts";
import type { StoredParts } from "../../../src/cache/stored.ts";
import { Fields } from "../../../src/http/fields.ts";

const NOW = Date.UTC(2026, 0, 1);

function parts(bytes: number, storedAtMs = NOW): StoredParts {
  return {
    status: 200,
    fields: Fields.from([["content-type", "text/plain"]]),
    body: new Uint8Array(bytes),
    coding: "identity",
    negotiable: false,
    freshness: {
      source: "max-age",
      explicit: true,
      bornMs: storedAtMs,
      freshUntilMs: storedAtMs + 60_000,
      whileRevalidateUntilMs: storedAtMs + 60_000,
      ifErrorUntilMs: storedAtMs + 60_000,
      mustRevalidate: false,
    },
    tags: [],
    validSequence: 0,
    validLocal: 0,
    etag: null,
    lastModifiedMs: null,
    dateMs: storedAtMs,
    storedAtMs,
  };
}

const store = (bytesMax: number) => new MemoryStore({ bytesMax, objectBytesMax: bytesMax });
const request = (fields: Record<string, string> = {}) => Fields.from(Object.entries(fields));

describe("the memory store", () => {
  test("never holds more than its limit", () => {
    const small = store(100_000);
    for (let i = 0; i < 1_000; i++) small.put(`u${i}`, [], "", parts(i * 10), 64);
    expect(small.stats().bytes).toBeLessThanOrEqual(100_000);
    expect(small.stats().evictions).toBeGreaterThan(500);
  });

  test("refuses an object larger than itself and keeps the rest", () => {
    const small = store(50_000);
    small.put("kept", [], "", parts(100), 64);
    expect(small.put("huge", [], "", parts(60_000), 64)).toBeNull();
    expect(small.get("kept")?.find("", request())).not.toBeNull();
  });

  test("keeps what is hit while a scan passes through", () => {
    const scanned = store(200_000);
    const hot = scanned.put("hot", [], "", parts(1_000), 64);
    for (let i = 0; i < 2_000; i++) {
      if (hot !== null) scanned.hit(hot);
      scanned.put(`scan${i}`, [], "", parts(1_000), 64);
    }
    expect(scanned.get("hot")).toBeDefined();
  });

  test("chooses the variant by the fields that Vary named", () => {
    const varied = store(1e6);
    varied.put("u", ["accept-language"], "2:de;", parts(1), 64);
    varied.put("u", ["accept-language"], "2:en;", parts(2), 64);
    expect(varied.get("u")?.find("", request({ "accept-language": "de" }))?.length).toBe(1);
    expect(varied.get("u")?.find("", request({ "accept-language": "en" }))?.length).toBe(2);
    expect(varied.get("u")?.find("", request({ "accept-language": "fr" }))).toBeNull();
    expect(varied.get("u")?.find("", request())).toBeNull();
  });

  test("holds at most so many variants of a URL, the oldest go first", () => {
    const varied = store(1e6);
    for (let i = 0; i < 10; i++) varied.put("u", ["x"], `1:${i};`, parts(1, NOW + i), 4);
    expect(varied.get("u")?.count).toBe(4);
    expect(varied.get("u")?.find("", request({ x: "9" }))).not.toBeNull();
    expect(varied.get("u")?.find("", request({ x: "0" }))).toBeNull();
  });

  test("forgets a whole URL, and says how many variants it had", () => {
    const varied = store(1e6);
    for (let i = 0; i < 3; i++) varied.put("u", ["x"], `1:${i};`, parts(1), 64);
    expect(varied.removeUrl("u")).toBe(3);
    expect(varied.removeUrl("u")).toBe(0);
    expect(varied.stats()).toMatchObject({ objects: 0, urls: 0, bytes: 0 });
  });

  test("a pass marker is counted, ends, and gives way to a stored response", () => {
    const marked = store(1e6);
    marked.markPass("u", NOW + 1, "response-no-store");
    expect(marked.get("u")?.pass?.reason).toBe("response-no-store");
    expect(marked.stats().bytes).toBeGreaterThan(0);
    marked.put("u", [], "", parts(1), 64);
    expect(marked.get("u")?.pass).toBeNull();
  });

  test("under any operations its counts are those of a model", () => {
    const operation = fc.record({
      kind: fc.constantFrom("put", "put", "put", "hit", "remove", "mark", "clear"),
      url: fc.nat(12).map((n) => `u${n}`),
      variant: fc.nat(5).map((n) => `1:${n};`),
      bytes: fc.nat(6_000),
    });
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 120 }), (operations) => {
        const real = store(40_000);
        for (const { kind, url, variant, bytes } of operations) {
          if (kind === "put") real.put(url, ["x"], variant, parts(bytes), 4);
          else if (kind === "mark") real.markPass(url, NOW, "response-private");
          else if (kind === "remove") real.removeUrl(url);
          else if (kind === "clear" && bytes < 300) real.clear();
          else {
            const found = real.get(url)?.find("", request({ x: variant.slice(2, 3) }));
            if (found != null) real.hit(found);
          }
          let objects = 0;
          let sum = 0;
          let urls = 0;
          for (let n = 0; n <= 12; n++) {
            const held = real.get(`u${n}`);
            if (held === undefined) continue;
            urls++;
            expect(held.empty).toBe(false);
            expect(held.count).toBeLessThanOrEqual(4);
            for (const entry of held.variants()) {
              objects++;
              sum += entry.bytes;
            }
            sum += held.pass?.bytes ?? 0;
          }
          expect(real.stats()).toMatchObject({ objects, urls, bytes: sum });
          expect(sum).toBeLessThanOrEqual(40_000);
        }
      }),
      { numRuns: 150 },
    );
  });
});

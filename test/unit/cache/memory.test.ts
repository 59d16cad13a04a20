import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { MemoryStore } from "../../../src/cache/store/memory.ts";
import { Fields } from "../../../src/http/fields.ts";
import { STORED_AT_MS as NOW, storedParts as parts } from "../../kit/stored.ts";

const store = (bytesMax: number) => new MemoryStore({ bytesMax, objectBytesMax: bytesMax });
const request = (fields: Record<string, string> = {}) => Fields.from(Object.entries(fields));

describe("the memory store", () => {
  test("chooses the variant by the fields that Vary named", () => {
    const varied = store(1e6);
    varied.put("u", ["accept-language"], "2:de;", parts(1), 64);
    varied.put("u", ["accept-language"], "2:en;", parts(2), 64);
    expect(varied.get("u")?.find("", request({ "accept-language": "de" }))?.length).toBe(1);
    expect(varied.get("u")?.find("", request({ "accept-language": "en" }))?.length).toBe(2);
    expect(varied.get("u")?.find("", request({ "accept-language": "fr" }))).toBeNull();
    expect(varied.get("u")?.find("", request())).toBeNull();
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

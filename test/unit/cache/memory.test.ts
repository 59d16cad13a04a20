import { describe, expect, test } from "bun:test";
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

  test("gives each who asks fields of his own, also the first, and new ones from the moment that they are set", () => {
    const kept = store(1e6);
    const entry = kept.put("u", [], "", parts(1), 64);
    for (let i = 0; i < 3; i++) {
      const fields = entry?.fields;
      expect(fields?.flat).toEqual(["content-type", "text/plain"]);
      fields?.set("x-viewer", String(i));
    }
    const other = kept.put("v", [], "", parts(1), 64);
    other?.setFields(request({ etag: '"2"' }), NOW);
    expect(other?.fields.flat).toEqual(["etag", '"2"']);
  });

  test("a pass marker is counted, ends, and gives way to a stored response", () => {
    const marked = store(1e6);
    marked.markPass("u", NOW + 1, "response-no-store");
    expect(marked.get("u")?.pass?.reason).toBe("response-no-store");
    expect(marked.stats().bytes).toBeGreaterThan(0);
    marked.put("u", [], "", parts(1), 64);
    expect(marked.get("u")?.pass).toBeNull();
  });
});

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { isFingerprinted } from "../../../src/http/fingerprint.ts";
import { fileNameOf } from "../../../src/upstream/file-name.ts";

describe("the name of a target", () => {
  test("is its decoded segments, its slash and its query", () => {
    expect(fileNameOf("/a/b%20c/?x=/../y")).toEqual({
      kind: "name",
      segments: ["a", "b c"],
      slash: true,
      query: "?x=/../y",
    });
    expect(fileNameOf("/")).toEqual({ kind: "name", segments: [], slash: true, query: "" });
  });

  test("never holds a segment that could lead elsewhere, whatever is asked", () => {
    const part = fc.constantFrom(
      "a",
      ".",
      "..",
      "/",
      "\\",
      "%2e",
      "%2E",
      "%2f",
      "%5c",
      "%00",
      "%25",
      "?",
      "é",
      ".well-known",
    );
    fc.assert(
      fc.property(fc.array(part, { maxLength: 12 }), (parts) => {
        const name = fileNameOf(`/${parts.join("")}`);
        if (name.kind !== "name") return;
        for (const [i, segment] of name.segments.entries()) {
          for (const bad of ["/", "\\", "\0"]) expect(segment).not.toInclude(bad);
          expect(segment.startsWith(".") && !(i === 0 && segment === ".well-known")).toBe(false);
          expect(segment).not.toBe("");
        }
      }),
      { numRuns: 2000 },
    );
  });
});

describe("a name with a hash of the content", () => {
  test.each([
    "app.3f9a8c1d.js",
    "app.3f9a8c1d.js.map",
    "main.2c79e2a64abdb08b.chunk.css",
    "framework-2c79e2a64abdb08b.js",
    "index-BxT4k2Zq.css",
    "index.CZ8SgGWb.js",
    "inter-D5x_g2-Q.woff2",
    "logo.6ce24c58.svg",
    "application-0f5c1d2e3b4a59687786a5b4c3d2e1f00f5c1d2e3b4a59687786a5b4c3d2e1f0.css",
  ])("%s is immutable", (name) => {
    expect(isFingerprinted(name)).toBe(true);
  });

  test.each([
    "index.html",
    "index-BxT4k2Zq.html",
    "report-3f9a8c1d.pdf",
    "app.js",
    "app.min.js",
    "jquery-3.7.1.min.js",
    "jquery-20240101.js",
    "photo-20240101.jpg",
    "photo-Summer24.jpg",
    "poster-OpenAI4o.png",
    "theme-Summer24.css",
    "my-category.css",
    "set-deadbeef.css",
    "part-1234567a.jpg",
    "icon-abc123.svg",
    "550e8400-e29b-41d4-a716-4466554abcde.jpg",
    "3f9a8c1d.js",
    "app.3f9a8c1d",
    "app.3f9a8c1d/index.js",
  ])("%s is not known to be", (name) => {
    expect(isFingerprinted(name)).toBe(false);
  });
});

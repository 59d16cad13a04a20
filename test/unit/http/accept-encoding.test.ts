import { expect, test } from "bun:test";
import fc from "fast-check";
import {
  acceptedCodings,
  acceptsIdentity,
  normalizeAcceptEncoding,
} from "../../../src/http/accept-encoding.ts";
import { hostileText } from "./hostile.ts";

test("orders what the viewer accepts by q, then zstd, br, gzip", () => {
  const vectors: [string | null, string[]][] = [
    [null, []],
    ["", []],
    ["gzip, deflate, br, zstd", ["zstd", "br", "gzip"]],
    ["gzip;q=1.0, br;q=0.5", ["gzip", "br"]],
    ["compress;q=0.5, gzip;q=1.0", ["gzip"]],
    ["gzip;q=1.0, identity; q=0.5, *;q=0", ["gzip"]],
    ["*", ["zstd", "br", "gzip"]],
    ["*;q=0.5, gzip", ["gzip", "zstd", "br"]],
    ["gzip;q=0, *", ["zstd", "br"]],
    ["br;q=0", []],
    ["X-GZIP", ["gzip"]],
    ["GZip ; Q=0.8,BR", ["br", "gzip"]],
    ["identity", []],
    ["gzip, gzip;q=0", []],
    ["gzip;q=0, gzip", []],
    ["gzip;q=2, br;q=x, zstd;q=-1", []],
    ["gzip;q=, br;level=4", ["br"]],
  ];
  for (const [value, expected] of vectors)
    expect([value, acceptedCodings(value)]).toEqual([value, expected] as never);
});

test("takes identity unless it is refused", () => {
  for (const value of [null, "", "gzip", "*", "identity;q=0.1, *;q=0", "gzip;q=0"])
    expect(acceptsIdentity(value)).toBe(true);
  for (const value of ["identity;q=0", "*;q=0", "gzip, *;q=0.000", "identity;q=0, *"])
    expect(acceptsIdentity(value)).toBe(false);
});

test("has one form for viewers who accept the same", () => {
  expect(normalizeAcceptEncoding("gzip, deflate, br, zstd")).toBe("br, gzip, zstd");
  expect(normalizeAcceptEncoding("zstd;q=0.1, x-gzip")).toBe("gzip, zstd");
  expect(normalizeAcceptEncoding(null)).toBe("");
  expect(normalizeAcceptEncoding("identity, deflate")).toBe("");
});

test("the one form stays as it is and accepts the same codings", () => {
  fc.assert(
    fc.property(
      fc.oneof(
        hostileText(),
        fc.array(fc.constantFrom("gzip", "br;q=0", "zstd;q=0.3", "*;q=0.1", "x-gzip")).map(String),
      ),
      (value) => {
        const once = normalizeAcceptEncoding(value);
        expect(normalizeAcceptEncoding(once)).toBe(once);
        expect([...acceptedCodings(once)].sort()).toEqual([...acceptedCodings(value)].sort());
      },
    ),
  );
});

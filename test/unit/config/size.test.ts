import { expect, test } from "bun:test";
import fc from "fast-check";
import { parseListenAddress } from "../../../src/config/address.ts";
import { formatSize, parseSize } from "../../../src/config/size.ts";

test("a size is a number of bytes or a number with a unit", () => {
  const sizes: [string | number, number | null][] = [
    [0, 0],
    [512, 512],
    ["512", 512],
    ["512B", 512],
    ["64KiB", 65_536],
    ["64 kib", 65_536],
    ["256MiB", 268_435_456],
    ["1GB", 1_000_000_000],
    ["1.5GiB", 1_610_612_736],
    ["2TiB", 2_199_023_255_552],
    ["", null],
    ["MiB", null],
    ["256M", null],
    ["1e3", null],
    ["-1", null],
    [-1, null],
    [1.5, null],
    [Number.NaN, null],
    [Number.POSITIVE_INFINITY, null],
    ["99999999TiB", null],
    ["1 GB GB", null],
  ];
  for (const [text, bytes] of sizes) expect({ text, bytes: parseSize(text) }).toEqual({ text, bytes });
});

test("a size is shown in the largest binary unit, and read again as nearly the same", () => {
  expect([0, 1023, 1024, 1536, 268_435_456, 2 ** 40].map(formatSize)).toEqual([
    "0B",
    "1023B",
    "1KiB",
    "1.5KiB",
    "256MiB",
    "1TiB",
  ]);
  fc.assert(
    fc.property(fc.nat({ max: 2 ** 45 }), (bytes) => {
      const read = parseSize(formatSize(bytes)) as number;
      expect(Math.abs(read - bytes)).toBeLessThanOrEqual(Math.max(1, bytes * 0.01));
    }),
  );
});

test("an address to listen on is host and port, port alone, or a bracketed IPv6 address and port", () => {
  const addresses: [string, ReturnType<typeof parseListenAddress>][] = [
    [":80", { hostname: "", port: 80 }],
    [":0", { hostname: "", port: 0 }],
    ["127.0.0.1:8080", { hostname: "127.0.0.1", port: 8080 }],
    ["localhost:65535", { hostname: "localhost", port: 65_535 }],
    ["edge-1.example:443", { hostname: "edge-1.example", port: 443 }],
    ["[::1]:8443", { hostname: "::1", port: 8443 }],
    ["[::]:0", { hostname: "::", port: 0 }],
    ["80", null],
    ["", null],
    [":", null],
    [":65536", null],
    [":-1", null],
    ["::1:80", null],
    ["[127.0.0.1]:80", null],
    ["[]:80", null],
    ["999.1.1.1:80", null],
    ["1.2.3:80", null],
    ["http://a:80", null],
    ["a b:80", null],
    ["a:80/", null],
  ];
  for (const [text, address] of addresses) {
    expect({ text, address: parseListenAddress(text) }).toEqual({ text, address });
  }
});

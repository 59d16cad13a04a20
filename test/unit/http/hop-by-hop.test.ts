import { expect, test } from "bun:test";
import { Fields } from "../../../src/http/fields.ts";
import { CONNECTION_OPTIONS_MAX, isHopByHop, stripHopByHop } from "../../../src/http/hop-by-hop.ts";

function strip(pairs: [string, string][]): [string, string][] {
  const fields = Fields.from(pairs);
  stripHopByHop(fields);
  return [...fields.entries()];
}

test("removes the fields of one connection (RFC 9110 section 7.6.1)", () => {
  expect(
    strip([
      ["Connection", "keep-alive"],
      ["Keep-Alive", "timeout=5"],
      ["Proxy-Connection", "keep-alive"],
      ["TE", "trailers"],
      ["Trailer", "x"],
      ["Transfer-Encoding", "chunked"],
      ["Upgrade", "h2c"],
      ["HTTP2-Settings", "x"],
      ["Proxy-Authenticate", "Basic"],
      ["Proxy-Authorization", "Basic x"],
      ["Accept", "*/*"],
      ["X-Kept", "1"],
    ]),
  ).toEqual([
    ["accept", "*/*"],
    ["x-kept", "1"],
  ]);
});

test("removes what Connection nominates, over all its lines and in any case", () => {
  expect(
    strip([
      ["Connection", "close, X-A"],
      ["x-a", "1"],
      ["X-B", "2"],
      ["x-c", "3"],
      ["connection", "x-b"],
      ["x-b", "again"],
    ]),
  ).toEqual([["x-c", "3"]]);
});

test("does not let Connection take away fields that are meant for every recipient", () => {
  const meant = [
    "cache-control",
    "content-type",
    "content-length",
    "host",
    "set-cookie",
    "cookie",
    "authorization",
    "vary",
    "age",
    "etag",
    "date",
    "via",
    "cdn-loop",
    "x-forwarded-for",
    "forwarded",
    "range",
    "if-none-match",
    "access-control-allow-origin",
  ];
  for (const name of meant) {
    expect(
      strip([
        ["connection", name],
        [name, "x"],
      ]),
    ).toEqual([[name, "x"]]);
  }
});

test("reads nominations up to a limit, and always removes Connection itself", () => {
  const names = Array.from({ length: CONNECTION_OPTIONS_MAX + 1 }, (_, i) => `x-${i}`);
  const left = strip([
    ["connection", names.join(",")],
    ...names.map((name): [string, string] => [name, "1"]),
  ]);
  expect(left).toEqual([[`x-${CONNECTION_OPTIONS_MAX}`, "1"]]);
});

test("tells the names that are always for one connection", () => {
  expect(["te", "transfer-encoding", "connection"].every(isHopByHop)).toBe(true);
  expect(["accept", "content-length", "x-te"].some(isHopByHop)).toBe(false);
});

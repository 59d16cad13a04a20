/** A push zone as an origin: what goes to storage, and what of its answers is the zone's. */
import { describe, expect, test } from "bun:test";
import { bodyOf } from "../../../src/http/body.ts";
import { Fields } from "../../../src/http/fields.ts";
import type { NextHop, UpstreamRequest, UpstreamResponse } from "../../../src/upstream/next-hop.ts";
import { ZoneOrigin } from "../../../src/upstream/zone-origin.ts";

const TIMEOUTS = { connectMs: 1_000, firstByteMs: 1_000, betweenBytesMs: 1_000 };

function zone(status = 200, fields: Record<string, string> = { "surrogate-key": "zone:web" }) {
  const asked: UpstreamRequest[] = [];
  let applied = 7;
  const server: NextHop = {
    name: "storage",
    fetch(request) {
      asked.push(request);
      const response: UpstreamResponse = {
        status,
        fields: Fields.from(Object.entries(fields)),
        framing: "length",
        bodyLength: 1,
        body: bodyOf(new Uint8Array(1)),
        requestTimeMs: 0,
        responseTimeMs: 0,
        reused: false,
      };
      return Promise.resolve(response);
    },
    close() {},
  };
  const origin = new ZoneOrigin({
    name: "assets",
    zone: "web",
    site: "shop",
    server,
    authority: "control.test:8090",
    credential: () => "pxn_x",
    applied: () => applied,
  });
  const get = () =>
    origin.fetch(
      {
        method: "GET",
        scheme: "https",
        authority: "www.shop.test",
        target: "/a%20b.txt?x=1",
        fields: Fields.from([
          ["cookie", "a=b"],
          ["authorization", "Basic x"],
          ["proxima-as-of", "1"],
          ["range", "bytes=0-1"],
          ["if-none-match", '"e"'],
        ]),
        body: null,
        bodyLength: null,
        signal: null,
      },
      TIMEOUTS,
    );
  return {
    get,
    asked,
    apply: (place: number) => {
      applied = place;
    },
  };
}

describe("a zone", () => {
  test("is asked as of the place that is applied when the request is sent, by the node and for the site", async () => {
    const { get, asked, apply } = zone();
    await get();
    apply(8);
    await get();
    expect(asked.map(({ fields }) => fields.get("proxima-as-of"))).toEqual(["7", "8"]);
    expect(asked[0]).toMatchObject({
      target: "/v1/content/web/a%20b.txt?x=1",
      authority: "control.test:8090",
    });
    expect(Object.fromEntries(asked[0]?.fields.entries() ?? [])).toEqual({
      "if-none-match": '"e"',
      range: "bytes=0-1",
      authorization: "Bearer pxn_x",
      "proxima-as-of": "7",
      "proxima-site": "shop",
    });
  });

  test("answers with its own 404, and never with a refusal of storage", async () => {
    expect((await zone(404).get()).status).toBe(404);
    for (const status of [401, 403, 404, 429, 500, 503])
      await expect(zone(status, {}).get()).rejects.toMatchObject({ code: "http_protocol_error" });
    await expect(zone(404, { "proxima-no-zone": "1" }).get()).rejects.toThrow(
      'there is no zone "web" for site "shop"',
    );
  });
});

/** An edge with a shield before an origin, in one process: what each of the three sees, and what a viewer is told. */
import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createHash } from "node:crypto";
import { type Clock, ManualClock } from "../../src/base/clock.ts";
import type { ConfigInput, SiteInput } from "../../src/config/types.ts";
import { startTestEdge, type TestEdge, type TestEdgeOptions } from "../kit/edge.ts";
import { startOrigin, text } from "../kit/origin.ts";
import { rawSend } from "../kit/raw-send.ts";
import { stage } from "../kit/stage.ts";

const { stops, app } = stage();
const SECRET = "a secret of more than thirty-two characters";

function secretFile(secret = SECRET): { file: string } {
  const folder = mkdtempSync(join(tmpdir(), "proxima-shield-"));
  stops.push(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, "secret");
  writeFileSync(file, `${secret}\n`);
  return { file };
}

interface NodeOptions {
  readonly origin: string;
  readonly site?: Partial<SiteInput>;
  readonly behavior?: TestEdgeOptions["behavior"];
  readonly behaviors?: TestEdgeOptions["behaviors"];
  readonly config?: Partial<ConfigInput>;
  readonly clock?: Clock;
  readonly secret?: string;
}

async function node(options: NodeOptions, name: string, tiers: object, site: object): Promise<TestEdge> {
  const { secret, ...rest } = options;
  const edge = await startTestEdge({
    ...rest,
    site: { ...options.site, ...site },
    config: { name, tiers: { secret: secretFile(secret), ...tiers }, ...options.config },
  });
  stops.push(() => edge.stop());
  return edge;
}

const shieldOf = (options: NodeOptions, name = "fra") => node(options, name, { accept: true }, {});

/** An edge that asks these shields, by name and URL, in this order. */
function edgeOf(options: NodeOptions, shields: Record<string, string>, name = "edge"): Promise<TestEdge> {
  const places = Object.entries(shields).map(([shield, url]) => [shield, { urls: [url] }]);
  return node(options, name, { shields: Object.fromEntries(places) }, { shields: Object.keys(shields) });
}

describe("a miss", () => {
  test("goes through the shield, and Cache-Status shows both tiers; a hit says nothing of the shield", async () => {
    const origin = app(() => text("body", { "cache-control": "max-age=60" }));
    const shield = await shieldOf({ origin: origin.url });
    const edge = await edgeOf({ origin: origin.url }, { fra: shield.url });
    const other = await edgeOf({ origin: origin.url }, { fra: shield.url }, "other");
    const miss = await edge.get("/a");
    expect(miss.body).toBe("body");
    expect(miss.headers.get("cache-status")).toMatch(
      /^fra; fwd=uri-miss; fwd-status=200; ttl=60; stored; detail=not-stored, edge; fwd=uri-miss; fwd-status=200; ttl=60; stored; detail=not-stored$/,
    );
    expect(miss.headers.get("via")).toBe("1.1 fra, 1.1 edge");
    const hit = await edge.get("/a");
    expect(hit.headers.get("cache-status")).toMatch(/^edge; hit; ttl=\d+; detail=fresh$/);
    const second = await other.get("/a");
    expect(second.headers.get("cache-status")).toMatch(
      /^fra; hit; ttl=\d+; detail=fresh, other; fwd=uri-miss; fwd-status=200/,
    );
    expect(origin.count()).toBe(1);
    expect(second.headers.has("x-proxima-tier")).toBe(false);
  });
});
void createHash;
void ManualClock;
void startOrigin;
void rawSend;

/** Large objects through a worker that does not own them: the answers of one worker, byte for byte; and what a dead owner takes along. */
import { expect, test } from "bun:test";
import { cacheOf, DiskEdge } from "../kit/disk-edge.ts";
import { content, fileAnswer, type OriginFile, startFileOrigin } from "../kit/file-origin.ts";
import { text } from "../kit/origin.ts";
import type { RawAnswer } from "../kit/raw-viewer.ts";
import { stage } from "../kit/stage.ts";
import type { WorkerViewer } from "../kit/worker-viewer.ts";

const { app, programs, stops } = stage();
const MB = 1024 * 1024;
const LENGTH = 20 * MB + 12_345;

const file = (version: number, fields: Record<string, string> = {}): OriginFile => ({
  bytes: content(LENGTH, version),
  etag: `"v${version}"`,
  ranges: true,
  fields: { "last-modified": "Thu, 01 Jan 2026 00:00:00 GMT", ...fields },
});

/** What a viewer can tell, but for times, the cache's own words, the framing of the connection and the boundary's name. */
function told({ status, head, body, whole }: RawAnswer) {
  const boundary = /boundary="?([^"\r\n]+)/.exec(head)?.[1];
  const plain = (text: string) => (boundary === undefined ? text : text.replaceAll(boundary, "BOUNDARY"));
  const lines = plain(head)
    .split("\r\n")
    .filter((line) => !/^(?:date|age|cache-status|content-length|transfer-encoding):/i.test(line))
    .sort();
  const bytes = boundary === undefined ? body : Buffer.from(plain(body.toString("latin1")), "latin1");
  return { status, lines, whole, bytes: bytes.byteLength, sum: Bun.hash.xxHash64(bytes) };
}

type Step =
  | { readonly ask: Record<string, string>; readonly method?: string; readonly same?: boolean }
  | "change"
  | "soft purge"
  | "hard purge";

const range = (spec: string, more: Record<string, string> = {}): Step => ({
  ask: { range: `bytes=${spec}`, ...more },
});
const whole: Step = { ask: {} };
const head: Step = { ask: {}, method: "HEAD" };

/** What is asked of an object that nobody has asked for before, one after another. */
const stories: Record<string, readonly Step[]> = {
  "whole, then parts": [whole, whole, range("0-99"), range("5000000-9000000"), range("-1"), head],
  "part, then whole": [range("9000000-9000099"), range("9000000-9000099"), whole, whole],
  seeks: [range("20000000-"), range("100-199"), range("12000000-13999999"), range("0-20000000"), whole],
  suffix: [range("-1000000"), range("-1"), range(`-${2 * LENGTH}`), range("-0")],
  blocks: [range("262143-262144"), range("262144-524287"), range("0-262143"), range("524288-524288")],
  "several ranges": [
    range("0-9,100-199"),
    range("15000000-15000099,5-9"),
    range("0-0,-1"),
    range("1000000-3000000,2000000-4000000"),
    range("0-9,5-14,7-20"),
    range("30000000-,0-9"),
    whole,
    range("15000000-15000099,5-9,19000000-19000009"),
  ],
  "beyond the end": [
    range(`${LENGTH}-`),
    range("0-9"),
    range(`${LENGTH}-`),
    range("30000000-30000001,40000000-"),
  ],
  "not ranges": [range("x"), range("9-5"), { ask: { range: "items=0-9" } }],
  "HEAD first": [head, range("0-9"), head, { ask: { range: "bytes=0-9" }, method: "HEAD" }],
  "a condition first": [{ ask: { "if-none-match": '"v1"' } }],
  conditions: [
    range("0-9"),
    { ask: { "if-none-match": '"v1"' } },
    { ask: { "if-none-match": '"v0"', range: "bytes=0-9" } },
    range("19000000-19000009", { "if-none-match": '"v1"' }),
    { ask: { "if-modified-since": "Thu, 01 Jan 2026 00:00:00 GMT" } },
    { ask: { "if-none-match": '"v1"' }, method: "HEAD" },
  ],
  "If-Range": [
    range("100-199", { "if-range": '"v1"' }),
    range("100-199", { "if-range": '"v0"' }),
    range("100-199", { "if-range": "Thu, 01 Jan 2026 00:00:00 GMT" }),
    range("100-199", { "if-range": 'W/"v1"' }),
    range("0-9,100-199", { "if-range": '"v1"' }),
  ],
  "another version": [
    range("0-99"),
    "change",
    range("12000000-12000099"),
    range("0-99"),
    whole,
    range("0-99", { "if-range": '"v1"' }),
  ],
  "a hard purge": [range("0-99"), "change", "hard purge", range("0-99"), range("12000000-12000099")],
  "a soft purge": [
    range("0-99"),
    "soft purge",
    range("0-99"),
    range("12000000-12000099"),
    "change",
    "soft purge",
    range("0-99"),
  ],
};

test("what a worker passes on from the owner is what one worker answers", async () => {
  const sides = await Promise.all(
    [1, 2].map(async (workers) => {
      const files = new Map<string, OriginFile>();
      const asked = new Map<string, number>();
      const origin = app((request, { target }) => {
        const answer = fileAnswer(request, files.get(target) ?? file(1));
        if (!files.has(target)) files.set(target, file(1));
        asked.set(target, (asked.get(target) ?? 0) + 1);
        return answer;
      });
      const edge = new DiskEdge(
        programs(),
        { main: { hosts: ["*"], origins: { app: { url: origin.url } }, behaviors: [{ path: "/*" }] } },
        "site.test",
      );
      await edge.start(workers);
      return { workers, files, asked, edge };
    }),
  );
  const [one, two] = sides;
  if (one === undefined || two === undefined) throw new Error("two edges");
  const single = await one.edge.viewer();
  const bySlot: WorkerViewer[] = [];
  for (const slot of [0, 1]) bySlot.push(await two.edge.viewer(two.edge.pidOf(slot)));
  for (const [name, steps] of Object.entries(stories)) {
    const path = `/${encodeURIComponent(name)}`;
    const stranger = bySlot[1 - two.edge.ownerOf(path)];
    if (stranger === undefined) throw new Error("two workers");
    for (const [i, step] of steps.entries()) {
      if (step === "change") {
        for (const { files } of sides) files.set(path, file(2));
        continue;
      }
      if (typeof step === "string") {
        const mode = step === "soft purge" ? "soft" : "hard";
        const urls = [`http://site.test${path}`];
        for (const { edge } of sides) await edge.purge({ scope: "url", urls, mode });
        continue;
      }
      const ask = { headers: step.ask, ...(step.method === undefined ? {} : { method: step.method }) };
      const wanted = await single.ask("site.test", path, ask);
      const found = await stranger.ask("site.test", path, ask);
      expect({ name, i, ask, ...told(found) }).toEqual({ name, i, ask, ...told(wanted) });
      expect({ name, i, ask, asked: two.asked.get(path) }).toEqual({
        name,
        i,
        ask,
        asked: one.asked.get(path),
      });
    }
  }
}, 60_000);

test("a body of unknown length that outgrows the store at once comes whole from either worker", async () => {
  const bytes = content(3 * MB, 1);
  const origin = app(() => {
    const body = async function* () {
      for (let at = 0; at < bytes.byteLength; at += MB) yield bytes.subarray(at, at + MB);
    };
    return new Response(body(), { headers: { "cache-control": "max-age=3600" } });
  });
  const sites = {
    main: { hosts: ["*"], origins: { app: { url: origin.url } }, behaviors: [{ path: "/*" }] },
  };
  for (const objectMax of ["1MiB", "32MiB"]) {
    const edge = new DiskEdge(programs(), sites, "site.test", {
      cache: { objectMax, disk: { size: "4GiB" } },
    });
    await edge.start(2);
    for (const slot of [0, 1]) {
      const viewer = await edge.viewer(edge.pidOf(slot));
      for (const path of ["/1", "/2", "/3", "/4"]) {
        const before = origin.count(path);
        const answer = await viewer.ask("site.test", path);
        expect([objectMax, path, answer.status, answer.whole]).toEqual([objectMax, path, 200, true]);
        // Once for the node, also when the first of them can not keep it.
        expect(origin.count(path) - before).toBeLessThanOrEqual(1);
        expect(answer.body.equals(bytes)).toBe(true);
      }
    }
  }
}, 20_000);

test("an owner that is killed breaks what streams through it, and nothing else", async () => {
  const gate = Promise.withResolvers<void>();
  const bytes = content(LENGTH, 1);
  const origin = await startFileOrigin(bytes, async (response) => {
    response.write(bytes.subarray(0, 6 * MB));
    await gate.promise;
    response.end(bytes.subarray(6 * MB));
  });
  stops.push(() => origin.stop());
  const edge = new DiskEdge(
    programs(),
    {
      main: {
        hosts: ["*"],
        origins: {
          app: { url: origin.url },
          small: { url: app(() => text("small", { "cache-control": "max-age=3600" })).url },
        },
        behaviors: [
          { path: "/small*", origin: "small" },
          { path: "/*", origin: "app" },
        ],
      },
    },
    "site.test",
  );
  await edge.start(2);
  const owned = (slot: number, prefix: string) =>
    Array.from({ length: 50 }, (_, i) => `${prefix}${i}`).find((path) => edge.ownerOf(path) === slot) ?? "";
  const [theirs, ours, small] = [owned(0, "/film"), owned(1, "/film"), owned(0, "/small")];
  const [owner, other] = [edge.pidOf(0), edge.pidOf(1)];
  const here = async () => await edge.viewer(other);
  const [streaming, local, idle] = [await here(), await here(), await here()];
  expect((await idle.ask("site.test", small)).status).toBe(200);
  streaming.send("site.test", theirs);
  local.send("site.test", ours);
  await Promise.all([streaming.until(5 * MB), local.until(5 * MB)]);
  process.kill(owner, "SIGKILL");
  const broken = await streaming.answer();
  expect([broken.status, broken.whole]).toEqual([200, false]);
  expect(broken.body.equals(bytes.subarray(0, broken.body.byteLength))).toBe(true);
  // The connections of this worker live, and what it streams comes whole.
  expect((await idle.ask("site.test", small)).body.toString()).toBe("small");
  gate.resolve();
  const film = await local.answer();
  expect([film.status, film.whole, film.body.equals(bytes)]).toEqual([200, true, true]);
  await edge.whole([owner]);
  // What had come is on disk; the rest is fetched by ranges.
  const again = await (await here()).ask("site.test", theirs);
  expect([again.status, cacheOf(again), again.whole, again.body.equals(bytes)]).toEqual([
    200,
    "MISS",
    true,
    true,
  ]);
  expect(/^cache-status:.*fwd=partial/im.test(again.head)).toBe(true);
  // No byte of it was asked for twice.
  const spans = origin.ranges.map((range) => (/(\d+)-(\d+)/.exec(range) ?? []).slice(1).map(Number));
  spans.sort(([a = 0], [b = 0]) => a - b);
  for (const [i, [start = 0]] of spans.entries())
    if (i > 0) expect(start).toBeGreaterThan(spans[i - 1]?.[1] ?? 0);
}, 20_000);

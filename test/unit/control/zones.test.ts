/** Zones as records: what was, what is, what is dropped, and that content in use never goes. */
import { afterAll, describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ManualClock } from "../../../src/base/clock.ts";
import { openParts } from "../../../src/control/parts.ts";
import { answerContent } from "../../../src/control/zones/content.ts";
import { bodyOf } from "../../../src/http/body.ts";
import type { FileContent, Principal } from "../../../src/storage/zone-store.ts";

const DAY_MS = 86_400_000;
const folder = mkdtempSync(join(tmpdir(), "proxima-zones-"));
const clock = new ManualClock();
const setup = (path: string) => ({
  fileOf: (name: string) => join(path, name),
  version: "0.0.0-test",
  clock,
  onError: () => {},
  sendWebhook: () => Promise.reject(new Error("none is sent")),
});
const parts = openParts(setup(folder));
const { zones } = parts;
const who: Principal = { id: "test", name: "", mayRead: () => true, mayWrite: () => true };
afterAll(() => {
  parts.close();
  rmSync(folder, { recursive: true, force: true });
});

const hashOf = (text: string) => createHash("sha256").update(text).digest("hex");
const isStored = (text: string) => existsSync(join(folder, "zones", hashOf(text).slice(0, 2), hashOf(text)));
const take = (text: string) =>
  zones.take(bodyOf(new TextEncoder().encode(text)), { bytesMax: 1e6, bytes: null, checksums: [] });
const content = (text: string): FileContent => ({
  hash: hashOf(text),
  bytes: text.length,
  type: "text/plain",
  etag: null,
  fields: {},
  checksums: {},
});
function zoneOf(name: string, keep = 2) {
  zones.create({ name, indexDocument: "index.html", keepReleases: keep }, "test");
  return zones.mustGet(name);
}
async function release(name: string, files: Readonly<Record<string, string>>) {
  for (const text of Object.values(files)) await take(text);
  return parts.database.transaction(() => {
    const zone = zones.mustGet(name);
    const { number } = zones.releases.create(
      zone,
      Object.entries(files).map(([path, text]) => ({ path, hash: hashOf(text), bytes: text.length })),
      "",
      "test",
    );
    return zones.releases.activate(zone, number, "test");
  });
}

describe("a zone", () => {
  test("shows at each place of the log what it was there, whole", async () => {
    const { id } = zoneOf("past");
    const states: { at: number; files: Record<string, string | undefined> }[] = [];
    let files: Record<string, string> = {};
    for (let step = 0; step < 8; step++) {
      files = Object.fromEntries(
        ["a", "b", "c"]
          .filter((_, i) => (step + i) % 3 !== 0)
          .map((path) => [path, `${path}${Math.floor(step / 2)}`]),
      );
      await release("past", files);
      // What the edges have applied is never less than the newest entry of the log.
      parts.purges.create(
        { site: "any", scope: "everything", targets: [], mode: "hard", idempotencyKey: null },
        "test",
      );
      states.push({ at: parts.log.head().sequence, files });
    }
    for (const { at, files: then } of states)
      for (const path of ["a", "b", "c"]) {
        const text = then[path];
        expect([at, path, zones.files.get(id, path, at)?.hash]).toEqual([
          at,
          path,
          text === undefined ? undefined : hashOf(text),
        ]);
      }
    expect(zones.files.get(id, "a", 0)).toBeNull();
  });

  test("counts only what differs as changed", async () => {
    zoneOf("diff");
    expect(await release("diff", { a: "1", b: "2", c: "3" })).toMatchObject({
      changed: ["a", "b", "c"],
      removed: [],
    });
    expect(await release("diff", { a: "1", b: "two", d: "4" })).toMatchObject({
      changed: ["b", "d"],
      removed: ["c"],
    });
    expect(await release("diff", { a: "1", b: "two", d: "4" })).toMatchObject({
      changed: [],
      removed: [],
      change: null,
    });
    expect(zones.view("diff")).toMatchObject({ release: 2, files: 3 });
  });

  test("takes a release whole or not at all", async () => {
    const zone = zoneOf("whole");
    await take("here");
    const make = (files: { path: string; hash: string; bytes: number }[]) => () =>
      parts.database.transaction(() => zones.releases.create(zone, files, "", "test"));
    const good = { path: "a", hash: hashOf("here"), bytes: 4 };
    expect(make([good, { path: "b", hash: hashOf("absent"), bytes: 1 }])).toThrow(
      "the content of 1 files is not here yet",
    );
    expect(make([good, { ...good, bytes: 5 }])).toThrow("stands twice");
    expect(make([{ ...good, bytes: 5 }])).toThrow("has 4 bytes, not 5");
    expect(make([{ ...good, path: "../x" }])).toThrow('a segment "." or ".."');
    expect(make([{ ...good, path: "folder/" }])).toThrow("is a folder");
    expect(zones.releases.list(zone, 10, 100)).toEqual([]);
  });

  test("keeps so many releases, and always the current one", async () => {
    zoneOf("few");
    for (let number = 1; number <= 4; number++) await release("few", { a: `few ${number}` });
    const numbers = () => zones.releases.list(zones.mustGet("few"), 10, 100).map((one) => one.number);
    expect(numbers()).toEqual([4, 3]);
    parts.database.transaction(() => zones.activate("few", 3, "test"));
    await release("few", { a: "few 5" });
    expect(numbers()).toEqual([5, 4]);
  });

  test("keeps newer releases that were not current yet, whatever is made current meanwhile", async () => {
    const zone = zoneOf("waiting", 1);
    await release("waiting", { a: "waiting 1" });
    for (const text of ["waiting 2", "waiting 3"]) {
      await take(text);
      parts.database.transaction(() =>
        zones.releases.create(zone, [{ path: "a", hash: hashOf(text), bytes: text.length }], "", "test"),
      );
    }
    const numbers = () => zones.releases.list(zone, 10, 100).map((one) => one.number);
    parts.database.transaction(() => zones.activate("waiting", 2, "test"));
    expect(numbers()).toEqual([3, 2]);
    parts.database.transaction(() => zones.activate("waiting", 3, "test"));
    expect(numbers()).toEqual([3]);
  });
});

test("an error document says the coding that it was uploaded in", async () => {
  zones.create(
    { name: "coded", indexDocument: "index.html", errorDocument: "404.html", keepReleases: 2 },
    "test",
  );
  const zone = zones.mustGet("coded");
  await take("coded page");
  const fields = { "content-encoding": "br", "x-amz-meta-note": "mine" };
  zones.put({ ...zone, createdMs: 0 }, "404.html", { ...content("coded page"), fields }, who);
  const { status, fields: sent } = await answerContent(zones, zone, {
    method: "HEAD",
    target: "/nowhere",
    fields: new Headers(),
    asOf: null,
  });
  expect([status, sent.get("content-encoding"), sent.get("x-amz-meta-note")]).toEqual([404, "br", null]);
});

describe("content that nothing names", () => {
  test("goes after a day, and not what is in use or was just sent", async () => {
    const zone = zones.zone("few") ?? zones.zone("diff");
    if (zone === null) throw new Error("there is a zone");
    await take("loose");
    await take("named");
    zones.put(zone, "named", content("named"), who);
    await zones.collect();
    expect([isStored("loose"), isStored("named")]).toEqual([true, true]);
    clock.advance(DAY_MS / 2);
    await take("fresh");
    clock.advance(DAY_MS / 2 + 1);
    // Of the releases that were dropped, and of what they had shown.
    expect((await zones.collect()).blobs).toBeGreaterThanOrEqual(1);
    expect([isStored("loose"), isStored("named"), isStored("fresh")]).toEqual([false, true, true]);
    clock.advance(DAY_MS + 1);
    await zones.collect();
    expect([isStored("few 1"), isStored("few 4"), isStored("few 5"), isStored("fresh")]).toEqual([
      false,
      true,
      true,
      false,
    ]);
  });

  test("is taken anew while it is dropped, and is there then", async () => {
    // A day has many timers: more rounds last too long on a busy machine, and a second attempt crosses the first.
    for (let round = 0; round < 3; round++) {
      await take("again");
      clock.advance(DAY_MS + 1);
      await Promise.all([zones.collect(), take("again"), zones.collect(), take("again")]);
      const known = zones.blobs.missing([hashOf("again")]).length === 0;
      expect([known, isStored("again")]).toEqual([true, true]);
    }
  });

  test("does not stay where the database does not take it", async () => {
    parts.database.run(
      "CREATE TRIGGER full BEFORE INSERT ON zone_blobs BEGIN SELECT RAISE(ABORT, 'database is full'); END",
    );
    await expect(take("unknown")).rejects.toThrow("full");
    expect(isStored("unknown")).toBe(false);
    parts.database.run("DROP TRIGGER full");
    await take("unknown");
    expect(isStored("unknown")).toBe(true);
  });

  test("can not be named any more", async () => {
    const zone = zones.zone("diff");
    if (zone === null) throw new Error("there is a zone");
    expect(() => zones.put(zone, "x", content("never sent"), who)).toThrow("send it again");
  });
});

test("a zone that has ended leaves its name, not its files", async () => {
  const first = zoneOf("ended");
  await release("ended", { a: "of the first" });
  parts.database.transaction(() => zones.end("ended", [], "test"));
  expect(zones.zone("ended")).toBeNull();
  const second = zoneOf("ended");
  expect(second.id).not.toBe(first.id);
  expect(zones.view("ended")).toMatchObject({ files: 0, release: null });
});

test("what was not whole when the process ended is gone at the next start", async () => {
  const { mkdirSync, writeFileSync } = await import("node:fs");
  const other = mkdtempSync(join(tmpdir(), "proxima-zones-"));
  mkdirSync(join(other, "zones-incoming"));
  writeFileSync(join(other, "zones-incoming", "half"), "half of it");
  openParts(setup(other)).close();
  expect(existsSync(join(other, "zones-incoming", "half"))).toBe(false);
  rmSync(other, { recursive: true, force: true });
});

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { LINE_CHARS_MAX } from "../../../src/cli/simulate-input.ts";
import { endAll, runCli } from "./run-cli.ts";

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "proxima-simulate-"));
});
afterEach(async () => {
  await endAll();
  rmSync(folder, { recursive: true, force: true });
});

const line = (target: string, rest = "200 1000") =>
  `192.0.2.1 - - [10/Oct/2025:13:55:36 +0000] "GET ${target} HTTP/1.1" ${rest} "-" "curl"\n`;

function file(content: string | Uint8Array, name = "access.log"): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

/** Twice /a with its query in two orders, with and without tracking; once /b; two requests for the origin alone. */
const LOG = [
  line("/a?x=1&y=2"),
  line("/a?y=2&x=1"),
  line("/a?x=1&y=2&utm_source=mail"),
  line("/a?x=1&y=2", "304 -"),
  line("/b", "200 3000"),
  `192.0.2.1 - - [10/Oct/2025:13:55:36 +0000] "POST /b HTTP/1.1" 200 5\n`,
  line("/a", "503 12"),
  "this is no log line\n",
].join("");

interface Row {
  name: string;
  objects: number;
  footprintBytes: number;
  caches: { cache: string; cacheBytes: number; objectMissRatio: number; byteMissRatio: number }[];
  unlimited: { objectMissRatio: number; byteMissRatio: number };
}

async function simulateJson(argv: readonly string[]) {
  const { status, out, err } = await runCli(["simulate", ...argv, "--json"]);
  expect([status, err]).toEqual([0, ""]);
  return JSON.parse(out) as {
    log: Record<string, number>;
    key: string;
    keyPolicy: string;
    policies: Row[];
    keys: Row[];
  } & Record<string, unknown>;
}

describe("proxima simulate", () => {
  test("counts misses by policy and by key, and says what the log consists of", async () => {
    const report = await simulateJson(["--log", file(LOG), "--cache", "1MiB"]);
    expect(report.log).toEqual({
      lines: 8,
      requests: 5,
      uncacheable: 2,
      malformed: 1,
      tooLong: 0,
      dropped: 0,
      cut: false as never,
    });
    expect(report).toMatchObject({ key: "as logged", cacheableShare: 5 / 7, objects: 4, keyPolicy: "gdsf" });
    // Bodies of 1,000, three times, and 3,000 bytes, and 1,024 for each object; the 304 counts with its object's size.
    expect(report.footprintBytes).toBe(6_000 + 4 * 1_024);
    expect(report.answerBytes).toBe(7_000);
    expect(report.policies.map(({ name }) => name)).toEqual(["lru", "sieve", "s3-fifo", "w-tinylfu", "gdsf"]);
    for (const { caches } of report.policies) {
      expect(caches).toEqual([
        { cache: "1MiB", cacheBytes: 1_048_576, objectMissRatio: 0.8, byteMissRatio: 6 / 7 },
      ]);
    }
    expect(
      report.keys.map(({ name, objects, caches }) => [name, objects, caches[0]?.objectMissRatio]),
    ).toEqual([
      ["as logged", 4, 0.8],
      ["query sorted", 3, 0.6],
      ["tracking stripped", 2, 0.4],
      ["query ignored", 2, 0.4],
    ]);
    expect(report.keys[2]?.unlimited).toEqual({ objectMissRatio: 0.4, byteMissRatio: 4 / 7 });
  });

  test("makes the key that it is asked for", async () => {
    const log = file(LOG + line("/a?x=2"));
    const keyed = async (...argv: string[]) => {
      const { key, policies } = await simulateJson([
        "--log",
        log,
        "--cache",
        "1MiB",
        "--policy",
        "lru",
        ...argv,
      ]);
      return [key, policies[0]?.objects];
    };
    expect(await keyed("--strip-tracking")).toEqual(["tracking stripped", 3]);
    expect(await keyed("--query", "none")).toEqual(["query ignored", 2]);
    expect(await keyed("--query", "include:x")).toEqual(["as asked", 3]);
    expect(await keyed("--query", "include:y,utm_source")).toEqual(["as asked", 4]);
    expect(await keyed("--query", "include:y,utm_source", "--strip-tracking")).toEqual(["as asked", 3]);
  });

  test("simulates each size that is asked for, shares of the footprint too", async () => {
    let content = "";
    for (let round = 0; round < 20; round++) for (let at = 0; at < 50; at++) content += line(`/loop/${at}`);
    const report = await simulateJson([
      "--log",
      file(content),
      "--cache",
      "100%,50%,3KiB",
      "--policy",
      "lru,w-tinylfu",
    ]);
    const [lru, tinyLfu] = report.policies;
    // A loop is the worst case of LRU: it misses everything unless all fits.
    expect(lru?.caches.map(({ objectMissRatio }) => objectMissRatio)).toEqual([0.05, 1, 1]);
    expect(lru?.caches.map(({ cacheBytes }) => cacheBytes)).toEqual([101_200, 50_600, 3_072]);
    expect(tinyLfu?.caches[1]?.objectMissRatio).toBeLessThan(1);
  });

  test("prints a table for people", async () => {
    const { status, out, err } = await runCli([
      "simulate",
      "--log",
      file(LOG),
      "--cache",
      "1MiB,50%",
      "--policy",
      "lru,gdsf",
    ]);
    expect([status, err]).toEqual([0, ""]);
    expect(out).toContain("5 requests that a cache is asked for, 71.4% of 7\n");
    expect(out).toContain("left out of 8 lines: 1 that are no access log");
    expect(out).toMatch(
      /policy +objects +footprint +1MiB +50% \(4\.93KiB\) +no limit\n {2}lru +4 +9\.86KiB +80\.0% \/ 85\.7%/,
    );
    expect(out).toMatch(/key +objects[^\n]*\n {2}as logged +4 [^\n]*\n {2}query sorted +3 /);
    expect(out).not.toContain("\u001b");
  });

  test("reads gzip, of several members too, and standard input", async () => {
    const packed = Buffer.concat([gzipSync(LOG.slice(0, 100)), gzipSync(LOG.slice(100))]);
    const plain = await simulateJson(["--log", file(LOG), "--cache", "1MiB"]);
    expect(await simulateJson(["--log", file(packed, "packed"), "--cache", "1MiB"])).toEqual(plain);
    for (const content of [Buffer.from(LOG), packed]) {
      const child = Bun.spawn(
        [
          process.execPath,
          join(import.meta.dir, "fake-main.ts"),
          "simulate",
          "--log",
          "-",
          "--cache",
          "1MiB",
          "--json",
        ],
        { stdin: content, stdout: "pipe", stderr: "inherit" },
      );
      expect(JSON.parse(await new Response(child.stdout).text())).toEqual(plain);
      expect(await child.exited).toBe(0);
    }
  });

  test("leaves out lines that are too long, wherever they stand, and reads on", async () => {
    const long = `${"x".repeat(LINE_CHARS_MAX * 40)}\n`;
    const content = `${long}${LOG}${line(`/${"y".repeat(LINE_CHARS_MAX)}`)}${line("/after")}${long}${line("/end").trimEnd()}`;
    const { log } = await simulateJson(["--log", file(content), "--cache", "1MiB"]);
    expect(log).toMatchObject({ lines: 13, requests: 7, tooLong: 3, malformed: 1 });
  });

  test("tells of requests that the log lacks", async () => {
    const content =
      '{"time":"2026-01-01T00:00:00.000Z","dropped":1200}\n{"method":"GET","path":"/","status":200,"result":"hit","bytesSent":5}\n';
    const { out } = await runCli(["simulate", "--log", file(content), "--cache", "1MiB"]);
    expect(out).toContain("the log lacks 1,200 requests");
  });

  test.each([
    [["--cache", "1MiB"], 2, "required option '--log <FILE>' not specified"],
    [["--log", "x"], 2, "required option '--cache <SIZE,...>' not specified"],
    [
      ["--log", "x", "--cache", "1MiB,"],
      2,
      "Expected 1 to 8 sizes with commas between them, such as 256MiB,1GiB or 1%,10%",
    ],
    [["--log", "x", "--cache", "0"], 2, "Expected 1 to 8 sizes"],
    [["--log", "x", "--cache", "101%"], 2, "Expected 1 to 8 sizes"],
    [
      ["--log", "x", "--cache", "1MiB", "--policy", "lfu"],
      2,
      "Expected names of lru, sieve, s3-fifo, w-tinylfu, gdsf with commas between them",
    ],
    [
      ["--log", "x", "--cache", "1MiB", "--query", "include:"],
      2,
      "Expected all, none, or include: and 1 to 100 names, such as include:page,id",
    ],
    [["--log", "none.log", "--cache", "1MiB"], 1, 'there is no file "none.log"'],
    [["--log", "folder", "--cache", "1MiB"], 1, '"folder" is a directory; a file of log lines was expected'],
    [["--log", "empty", "--cache", "1MiB"], 1, '"empty" has no lines'],
    [
      ["--log", "prose", "--cache", "1MiB"],
      1,
      'no line of "prose" could be read; expected are Proxima\'s JSON lines, or the common or combined format of nginx and Apache',
    ],
    [
      ["--log", "posts", "--cache", "1MiB"],
      1,
      'none of the 1 requests in "posts" is one that a cache may answer',
    ],
    [["--log", "cut.gz", "--cache", "1MiB"], 1, '"cut.gz" begins as gzip does, but can not be unpacked'],
  ])("%j ends with one sentence", async (argv, expected, sentence) => {
    mkdirSync(join(folder, "folder"));
    file("", "empty");
    file("Dear diary\n", "prose");
    file(`1.1.1.1 - - [a] "POST / HTTP/1.1" 200 1\n`, "posts");
    file(gzipSync(LOG.repeat(500)).subarray(0, 120), "cut.gz");
    const { status, out, err } = await runCli(["simulate", ...argv], { cwd: folder });
    expect([status, out]).toEqual([expected, ""]);
    expect(err).toStartWith("proxima: ");
    expect(err).toContain(sentence);
    expect(err.trimEnd()).not.toContain("\n");
  });

  test("helps with examples", async () => {
    const { status, out } = await runCli(["simulate", "--help"]);
    expect(status).toBe(0);
    expect(out).toMatch(/Examples:\n {2}\$ proxima simulate /);
  });
});

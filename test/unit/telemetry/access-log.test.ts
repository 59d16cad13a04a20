import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ManualClock, systemClock } from "../../../src/base/clock.ts";
import {
  AccessLog,
  type AccessLogEntry,
  lineOf,
  STRING_LENGTH_MAX,
} from "../../../src/telemetry/access-log.ts";

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "proxima-log-"));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

function entry(changes: Partial<AccessLogEntry> = {}): AccessLogEntry {
  return {
    timeMs: Date.UTC(2026, 0, 1, 12, 0, 0, 5),
    site: "shop",
    behavior: "/*",
    client: "203.0.113.9",
    peer: "127.0.0.1",
    method: "GET",
    scheme: "https",
    transport: "tcp",
    host: "shop.example",
    path: "/a",
    query: "",
    status: 200,
    result: "hit",
    reason: "fresh",
    bytesSent: 10,
    durationMs: 0.12345,
    firstByteMs: null,
    originStatus: null,
    originMs: null,
    originName: null,
    key: null,
    userAgent: null,
    referer: null,
    requestId: null,
    error: null,
    ...changes,
  };
}

function linesOf(path: string): Record<string, unknown>[] {
  const text = readFileSync(path, "utf8");
  expect(text === "" || text.endsWith("\n")).toBe(true);
  return text
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line));
}

/** Waits for something that takes no timer of the log. */
async function until(done: () => boolean): Promise<void> {
  for (let i = 0; i < 1_000 && !done(); i++) await Bun.sleep(1);
  expect(done()).toBe(true);
}

describe("a line of the access log", () => {
  test("has the documented fields, and none for what is not known", () => {
    expect(JSON.parse(lineOf(entry({ query: "a=1", originMs: 3, originStatus: 200 })))).toEqual({
      time: "2026-01-01T12:00:00.005Z",
      site: "shop",
      behavior: "/*",
      client: "203.0.113.9",
      peer: "127.0.0.1",
      method: "GET",
      scheme: "https",
      transport: "tcp",
      host: "shop.example",
      path: "/a",
      query: "a=1",
      status: 200,
      result: "hit",
      reason: "fresh",
      bytesSent: 10,
      durationMs: 0.123,
      originStatus: 200,
      originMs: 3,
    });
  });

  test("has every field that the reference page names, and no other", () => {
    const page = readFileSync(join(import.meta.dir, "../../../docs/reference/access-log.md"), "utf8");
    const documented = [...page.matchAll(/^\| `(\w+)` \|/gm)].map((match) => match[1]);
    const full = entry({
      query: "q",
      firstByteMs: 1,
      originStatus: 200,
      originMs: 1,
      originName: "app",
      key: "k",
      userAgent: "u",
      referer: "r",
      requestId: "i",
      error: "e",
    });
    expect(Object.keys(JSON.parse(lineOf(full)))).toEqual(documented as string[]);
  });

  test("stays one line, whatever a viewer sends", () => {
    const line = lineOf(
      entry({ path: '/a\n{"b":1}\r\u2028', userAgent: "x".repeat(100_000), referer: "\ud800" }),
    );
    expect(line.indexOf("\n")).toBe(line.length - 1);
    expect(JSON.parse(line).userAgent).toHaveLength(STRING_LENGTH_MAX);
    expect(JSON.parse(line).path).toBe('/a\n{"b":1}\r\u2028');
  });

  test("holds any text as it was", () => {
    const all = Array.from({ length: 0x2100 }, (_, code) => String.fromCharCode(code));
    for (const text of [...all, ...all.map((char) => `a${char}b`), "\ud83d\ude00", '","x":"'])
      expect(JSON.parse(lineOf(entry({ referer: text, path: text })))).toMatchObject({
        referer: text,
        path: text,
      });
  });

  test("is written for a time that is no time", () => {
    expect(JSON.parse(lineOf(entry({ timeMs: Number.NaN }))).time).toBe("1970-01-01T00:00:00.000Z");
  });
});

describe("an access log in a file", () => {
  test("touches the file only when the timer runs", async () => {
    const clock = new ManualClock();
    const path = join(folder, "access.log");
    const log = new AccessLog({ sink: path, clock, flushMs: 200 });
    log.write(entry());
    log.write(entry({ path: "/b" }));
    clock.advance(199);
    await Bun.sleep(0);
    expect(existsSync(path)).toBe(false);
    clock.advance(1);
    await log.flush();
    expect(linesOf(path).map((line) => line.path)).toEqual(["/a", "/b"]);
    expect(statSync(path).mode & 0o777).toBe(0o640);
    await log.close();
  });

  test("keeps the order over many batches, and appends to what is there", async () => {
    const path = join(folder, "access.log");
    const log = new AccessLog({ sink: path, clock: systemClock });
    for (let i = 0; i < 3_000; i++) log.write(entry({ path: `/${i}` }));
    await log.close();
    const again = new AccessLog({ sink: path, clock: systemClock });
    again.write(entry({ path: "/3000" }));
    await again.close();
    expect(linesOf(path).map((line) => line.path)).toEqual(Array.from({ length: 3_001 }, (_, i) => `/${i}`));
    expect(log.written).toBe(3_000);
  });

  test("is not written in scraps when lines come while others are written", async () => {
    const path = join(folder, "access.log");
    const clock = new ManualClock();
    const log = new AccessLog({ sink: path, clock, flushMs: 200 });
    log.write(entry({ path: "/0" }));
    const flushed = log.flush();
    for (let i = 1; i < 10; i++) log.write(entry({ path: `/${i}` }));
    await flushed;
    expect(log.written).toBe(1);
    clock.advance(200);
    await log.flush();
    expect(linesOf(path).map((line) => line.path)).toEqual(Array.from({ length: 10 }, (_, i) => `/${i}`));
    await log.close();
  });

  test("writes a full batch that came while another one was written, without waiting for the timer", async () => {
    const log = new AccessLog({ sink: join(folder, "access.log"), clock: new ManualClock() });
    log.write(entry());
    const flushed = log.flush();
    for (let i = 0; i < 300; i++) log.write(entry());
    await flushed;
    await until(() => log.written === 301);
    await log.close();
  });

  test("a rotation leaves everything that waited in the old file, also what came while some was written", async () => {
    const path = join(folder, "access.log");
    const log = new AccessLog({ sink: path, clock: new ManualClock() });
    log.write(entry({ path: "/0" }));
    void log.flush();
    log.write(entry({ path: "/1" }));
    const reopened = log.reopen();
    await reopened;
    expect(linesOf(path)).toHaveLength(2);
    await log.close();
  });

  test("drops what passes the limit, counts it and says so", async () => {
    const path = join(folder, "access.log");
    const clock = new ManualClock();
    const log = new AccessLog({ sink: path, clock, bufferBytesMax: 2_000 });
    for (let i = 0; i < 50; i++) log.write(entry());
    expect(log.dropped).toBe(45);
    await log.flush();
    const lines = linesOf(path);
    expect(lines).toHaveLength(6);
    expect(lines[5]).toEqual({ time: "2026-01-01T00:00:00.000Z", dropped: 45 });
    log.write(entry());
    await log.close();
    expect(linesOf(path)).toHaveLength(7);
  });

  test("goes on in a new file after a rotation", async () => {
    const path = join(folder, "access.log");
    const log = new AccessLog({ sink: path, clock: systemClock });
    log.write(entry({ path: "/1" }));
    await log.flush();
    renameSync(path, `${path}.1`);
    log.write(entry({ path: "/2" }));
    await log.reopen();
    log.write(entry({ path: "/3" }));
    await log.close();
    expect(linesOf(`${path}.1`).map((line) => line.path)).toEqual(["/1", "/2"]);
    expect(linesOf(path).map((line) => line.path)).toEqual(["/3"]);
  });

  test("makes a deleted file again", async () => {
    const path = join(folder, "access.log");
    const log = new AccessLog({ sink: path, clock: systemClock });
    log.write(entry({ path: "/1" }));
    await log.flush();
    rmSync(path);
    log.write(entry({ path: "/2" }));
    await log.close();
    expect(linesOf(path).map((line) => line.path)).toEqual(["/2"]);
  });

  test("reports a folder that is not there once, and writes everything when it comes", async () => {
    const path = join(folder, "missing", "access.log");
    const problems: string[] = [];
    const clock = new ManualClock();
    const log = new AccessLog({ sink: path, clock, onProblem: (message) => problems.push(message) });
    log.write(entry({ path: "/1" }));
    await log.flush();
    log.write(entry({ path: "/2" }));
    await log.flush();
    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain("the access log can not be written: ENOENT");
    const { mkdir } = await import("node:fs/promises");
    await mkdir(join(folder, "missing"));
    clock.advance(200);
    await log.flush();
    expect(linesOf(path).map((line) => line.path)).toEqual(["/1", "/2"]);
    await log.close();
  });

  test.skipIf(!existsSync("/dev/full"))("reports a full disk once and does not throw", async () => {
    const problems: string[] = [];
    const log = new AccessLog({
      sink: "/dev/full",
      clock: new ManualClock(),
      onProblem: (message) => problems.push(message),
    });
    log.write(entry());
    await log.flush();
    log.write(entry());
    await log.close();
    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain("ENOSPC");
    log.write(entry());
    expect(log.dropped).toBe(1);
  });
});

describe("an access log on standard output", () => {
  test("reaches the pipe whole, also after the program's own messages", async () => {
    const script = join(folder, "log.ts");
    const root = join(import.meta.dir, "../../../src");
    await Bun.write(
      script,
      `import { AccessLog } from "${root}/telemetry/access-log.ts";
       import { systemClock } from "${root}/base/clock.ts";
       const log = new AccessLog({ sink: "-", clock: systemClock });
       const entry = ${JSON.stringify(entry())};
       for (let i = 0; i < 5000; i++) log.write({ ...entry, path: "/" + i });
       await log.close();`,
    );
    const child = Bun.spawn([process.execPath, script], { stdout: "pipe", stderr: "inherit" });
    // Longer than a pipe holds: the writer has to wait for us.
    await Bun.sleep(50);
    const lines = (await new Response(child.stdout).text()).trimEnd().split("\n");
    expect(await child.exited).toBe(0);
    expect(lines).toHaveLength(5_000);
    expect(JSON.parse(lines[4_999] as string).path).toBe("/4999");
  });

  test("does not keep a closing program waiting for a reader that is gone", async () => {
    const script = join(folder, "log.ts");
    const root = join(import.meta.dir, "../../../src");
    await Bun.write(
      script,
      `import { AccessLog } from "${root}/telemetry/access-log.ts";
       import { systemClock } from "${root}/base/clock.ts";
       const log = new AccessLog({ sink: "-", clock: systemClock, onProblem: (m) => console.error(m) });
       const entry = ${JSON.stringify(entry())};
       for (let i = 0; i < 5000; i++) log.write({ ...entry, path: "/" + i });
       await log.close();
       process.exit(0);`,
    );
    const child = Bun.spawn(["sh", "-c", '"$0" "$1" | true', process.execPath, script], {
      stdout: "pipe",
      stderr: "pipe",
    });
    const errors = await new Response(child.stderr).text();
    expect(await child.exited).toBe(0);
    expect(errors).toContain("the access log can not be written: EPIPE");
    expect(errors.trimEnd().split("\n")).toHaveLength(1);
  });
});

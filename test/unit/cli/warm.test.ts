/** `proxima warm` as typed, before something that answers as an edge does: counts, failures, ends, sentences. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import type { WarmReport } from "../../../src/cli/warm/tally.ts";
import { endAll, RunningCli, runCli } from "./run-cli.ts";

let folder = "";
let asked: string[] = [];
const stops: (() => unknown)[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "proxima-warm-"));
  asked = [];
});
afterEach(async () => {
  await endAll();
  for (const stop of stops.splice(0)) await stop();
  rmSync(folder, { recursive: true, force: true });
});

/** Answers by path as an edge would: `/hit/...` is a hit, `/bypass-REASON/...` a bypass, a number a status. */
function answer(request: Request): Response {
  const url = new URL(request.url);
  asked.push(`${request.headers.get("host")}${url.pathname}${url.search}`);
  const [word = "", reason = ""] = (url.pathname.split("/")[1] ?? "").split(/-(.*)/);
  const headers: Record<string, string> =
    /^\d+$/.test(word) || word === "none" ? {} : { "x-cache": word.toUpperCase() };
  if (reason !== "")
    headers["cache-status"] = `origin; hit; detail=no, Proxima; fwd=uri-miss; detail=${reason}`;
  if (word === "events") {
    return new Response(new ReadableStream({ pull: (to) => to.enqueue("data: 1\n\n") }), {
      headers: { "content-type": "text/event-stream" },
    });
  }
  return new Response("0123456789", { status: /^\d+$/.test(word) ? Number(word) : 200, headers });
}

function edge(handler: (request: Request) => Response | Promise<Response> = answer): string[] {
  const server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: handler });
  stops.push(() => server.stop(true));
  return ["--http", `127.0.0.1:${server.port}`];
}

/** Something that speaks for itself on a connection. */
function raw(data: (socket: Bun.Socket) => void): string[] {
  const server = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: (socket) => data(socket) } });
  stops.push(() => server.stop(true));
  return ["--http", `127.0.0.1:${server.port}`];
}

function file(content: string | Uint8Array, name = "urls.txt"): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

const warm = (...argv: string[]) => runCli(["warm", ...argv]);

async function warmJson(...argv: string[]): Promise<{ status: number; err: string; report: WarmReport }> {
  const { status, out, err } = await warm(...argv, "--json", "--rate", "1000");
  return { status, err, report: JSON.parse(out) as WarmReport };
}

describe("the report", () => {
  test("counts by X-Cache, by reason, by status and by bytes, and the status is 0", async () => {
    const paths = [
      "miss/1",
      "miss/2",
      "hit/1",
      "revalidated/1",
      "expired/1",
      "bypass-response-private/1",
      "bypass-response-private/2",
      "bypass-request-cookie/1",
      "none/1",
      "strange/1",
      "301/1",
    ];
    const { status, err, report } = await warmJson(
      ...edge(),
      ...paths.map((path) => `http://shop.example/${path}`),
    );
    expect([status, err]).toEqual([0, ""]);
    expect(report).toEqual({
      urls: 11,
      answered: 11,
      repeated: 0,
      sitemaps: 0,
      bytes: 110,
      seconds: report.seconds,
      results: { miss: 2, hit: 1, revalidated: 1, expired: 1, bypass: 3, none: 2, other: 1 },
      statuses: { 200: 10, 301: 1 },
      notStored: [
        { reason: "response-private", count: 2, example: "http://shop.example/bypass-response-private/1" },
        { reason: "request-cookie", count: 1, example: "http://shop.example/bypass-request-cookie/1" },
      ],
      failures: { urls: 0, sitemaps: 0, examples: [] },
      stopped: null,
      leftOut: false,
    });
    expect(asked.toSorted()).toEqual(paths.map((path) => `shop.example/${path}`).toSorted());
  });

  test("for a person says it in words, with the first five failures, and the status is 1", async () => {
    const list = file(Array.from({ length: 7 }, (_, i) => `http://shop.example/404/${i}`).join("\n"));
    const { status, out, err } = await warm(
      ...edge(),
      list,
      "http://shop.example/miss/1",
      "http://shop.example/bypass-response-private/1",
      "--concurrency",
      "1",
    );
    expect(err).toBe("proxima: 7 of 9 URLs failed\n");
    expect(status).toBe(1);
    expect(out.replace(/in \d+\.\d s, \d+ a second/, "in N s")).toBe(`9 URLs in N s, 90 bytes

  MISS        1  filled now
  BYPASS      1  not stored
    response-private 1  such as http://shop.example/bypass-response-private/1
  NONE        7  no X-Cache: is this an edge?

  status      200: 2   404: 7

  7 failures, the first 5
    http://shop.example/404/0  was answered with 404
    http://shop.example/404/1  was answered with 404
    http://shop.example/404/2  was answered with 404
    http://shop.example/404/3  was answered with 404
    http://shop.example/404/4  was answered with 404
`);
  });

  test("does not let an answer's words move the cursor, nor fill the memory", async () => {
    let n = 0;
    const handler = () =>
      new Response("", {
        headers: { "x-cache": "BYPASS", "cache-status": `P; detail="reason ${n++} ${"x".repeat(2_000)}"` },
      });
    const urls = Array.from({ length: 80 }, (_, i) => `http://shop.example/${i}`);
    const { report } = await warmJson(...edge(handler), file(urls.join("\n")));
    expect(report.notStored).toHaveLength(51);
    expect(report.notStored[0]).toMatchObject({ reason: "other", count: 30 });
    expect(Math.max(...report.notStored.map(({ reason }) => reason.length))).toBeLessThanOrEqual(60);
  });
});

describe("sources", () => {
  test("are URLs, files, packed files, sitemap files and standard input; each URL is asked for once", async () => {
    const sitemap =
      "<urlset><url><loc>http://shop.example/hit/1</loc></url><url><loc>http://shop.example/hit/2</loc></url></urlset>";
    const child = Bun.spawn(
      [
        process.execPath,
        join(import.meta.dir, "fake-main.ts"),
        "warm",
        ...edge(),
        "--json",
        "--rate",
        "1000",
        "--concurrency",
        "1",
        "http://shop.example/hit/3#x",
        file("# all\n\nhttp://shop.example/hit/4\r\n  http://SHOP.example/hit/3\n"),
        file(sitemap, "s.xml"),
        file(gzipSync(sitemap.replace("hit/2", "hit/5")), "s.xml.gz"),
        "-",
      ],
      {
        stdin: Buffer.from("http://shop.example/hit/6?a=1&b=2\nhttp://shop.example:8080/hit/1"),
        stdout: "pipe",
        stderr: "pipe",
      },
    );
    stops.push(() => child.kill());
    const [out, err] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
    ]);
    expect([await child.exited, err]).toEqual([0, ""]);
    expect(asked).toEqual(
      ["hit/3", "hit/4", "hit/1", "hit/2", "hit/5", "hit/6?a=1&b=2"]
        .map((path) => `shop.example/${path}`)
        .concat("shop.example:8080/hit/1"),
    );
    expect(JSON.parse(out)).toMatchObject({ urls: 7, repeated: 2, failures: { urls: 0 } });
  });

  test("beyond --max-urls are left out, and the status says so", async () => {
    const list = file(Array.from({ length: 20 }, (_, i) => `http://shop.example/hit/${i}`).join("\n"));
    const { status, err, report } = await warmJson(...edge(), "--max-urls", "3", list);
    expect([status, report.urls, report.leftOut, asked.length]).toEqual([1, 3, true, 3]);
    expect(err).toMatch(/^proxima: the sources name more than 3 URLs \(--max-urls\)/);
    // Just as many are not too many.
    expect((await warmJson(...edge(), "--max-urls", "20", list)).status).toBe(0);
  });

  test("that are wrong end the command before anything is asked for", async () => {
    const bad = file("http://shop.example/hit/1\n/relative\n", "bad.txt");
    const cases: [argv: string[], problem: string][] = [
      [[], "name what to warm: URLs, a file of URLs, a sitemap, or - for standard input"],
      [["-", "-"], "standard input (-) can be read once only"],
      [
        [bad],
        `${JSON.stringify(bad)}, line 2: "/relative" is not an absolute URL; write http(s)://host/path`,
      ],
      [[join(folder, "no.txt")], `there is no file ${JSON.stringify(join(folder, "no.txt"))}`],
      [["shop.example/a"], 'there is no file "shop.example/a"; a URL begins with http:// or https://'],
      [[folder], `${JSON.stringify(folder)} is a directory; a file of URLs or a sitemap was expected`],
      [["http://"], '"http://" is not an absolute URL; write http(s)://host/path'],
      [["https:/shop.example"], '"https:/shop.example" is not an absolute URL; write http(s)://host/path'],
      [
        [file("<html></html>", "a.html")],
        `${JSON.stringify(join(folder, "a.html"))} has the root element <html>; <urlset> or <sitemapindex> was expected`,
      ],
      [
        [file("<urlset><url/></urlset>", "e.xml")],
        `${JSON.stringify(join(folder, "e.xml"))}: 1 of its <url> elements name no <loc>`,
      ],
      [
        [file(Uint8Array.of(0xff, 0xfe), "b.bin")],
        `${JSON.stringify(join(folder, "b.bin"))} is not text in UTF-8`,
      ],
      [
        ["http://shop.example/", "--cacert", bad],
        `--cacert ${JSON.stringify(bad)} holds no certificate in PEM`,
      ],
    ];
    const options = edge();
    for (const [argv, problem] of cases) {
      // The first URL is right, and is not asked for either.
      const right = argv.length > 0 ? ["http://shop.example/hit/0"] : [];
      const { status, out, err } = await warm(...options, ...right, ...argv);
      expect([argv, status, out, err]).toEqual([argv, 2, "", `proxima: ${problem}\n`]);
    }
    expect(asked).toEqual([]);
  });

  test("options that are wrong say what is allowed", async () => {
    const cases: [argv: string[], problem: RegExp][] = [
      [["--rate", "0"], /Expected a number from 0\.01 to 100000/],
      [["--rate", "fast"], /Expected a number from 0\.01 to 100000/],
      [["--concurrency", "0"], /Expected a whole number from 1 to 256/],
      [["--concurrency", "1.5"], /Expected a whole number from 1 to 256/],
      [["--timeout", "9999"], /Expected a number from 0\.1 to 3600/],
      [["--max-urls", "1000001"], /Expected a whole number from 1 to 1000000/],
      [["--http", "8080"], /Expected HOST:PORT/],
      [["--https", "127.0.0.1:0"], /a port from 1 to 65535/],
      [["--header", "no colon"], /Expected 'Name: value'/],
      [["--header", "A: b\r\nC: d"], /Expected 'Name: value'/],
      [["--header", "Host: other.example"], /Host can not be chosen: the URL and the connection say it/],
    ];
    for (const [argv, problem] of cases) {
      const { status, err } = await warm("http://shop.example/", ...argv);
      expect([argv, status]).toEqual([argv, 2]);
      expect(err).toMatch(problem);
      expect(err.trimEnd().split("\n")).toHaveLength(1);
    }
  });
});

describe("requests", () => {
  test("carry the fields that were named, in place of what is sent otherwise", async () => {
    const seen: Headers[] = [];
    const options = edge((request) => {
      seen.push(request.headers);
      return answer(request);
    });
    const fields = [
      "--header",
      "Accept-Language: de",
      "--header",
      "accept-encoding: br",
      "--header",
      "X-A: 1",
      "--header",
      "X-A:2",
    ];
    expect((await warmJson(...options, "http://shop.example/hit/1", ...fields)).status).toBe(0);
    expect((await warmJson(...options, "http://shop.example/hit/1")).status).toBe(0);
    const shown = seen.map((all) =>
      ["accept-language", "accept-encoding", "x-a", "user-agent"].map((name) => all.get(name)),
    );
    expect(shown[0]).toEqual(["de", "br", "1, 2", expect.stringMatching(/^proxima-warm\//)]);
    expect(shown[1]).toEqual([
      null,
      "gzip, deflate, br, zstd",
      null,
      expect.stringMatching(/^proxima-warm\//),
    ]);
  });

  test("go to the edge whatever the environment says of proxies", async () => {
    const { status } = await runCli(["warm", ...edge(), "http://shop.example/hit/1"], {
      env: { HTTP_PROXY: "http://127.0.0.1:1", http_proxy: "http://127.0.0.1:1", NO_PROXY: "", no_proxy: "" },
    });
    expect(status).toBe(0);
  });

  test("start at the rate, and no more are open at once than asked for", async () => {
    const startsMs: number[] = [];
    let open = 0;
    let openMax = 0;
    const options = edge(async (request) => {
      startsMs.push(performance.now());
      openMax = Math.max(openMax, ++open);
      // As long as three starts: the rate alone would have four open.
      await Bun.sleep(150);
      open--;
      return answer(request);
    });
    const urls = Array.from({ length: 9 }, (_, i) => `http://shop.example/hit/${i}`);
    expect((await warm(...options, "--rate", "20", "--concurrency", "2", ...urls)).status).toBe(0);
    expect(openMax).toBe(2);
    startsMs.length = 0;
    expect((await warm(...options, "--rate", "20", "--concurrency", "9", ...urls)).status).toBe(0);
    // Eight intervals of 50 ms; the arrival of the first may be late by what setting up takes.
    expect((startsMs.at(-1) as number) - (startsMs[0] as number)).toBeGreaterThan(300);
    expect(openMax).toBeGreaterThan(2);
  });

  test("that get no whole answer fail with a reason, and the others go on", async () => {
    const body = "HTTP/1.1 200 OK\r\nX-Cache: MISS\r\nContent-Length: 100\r\n\r\n0123456789";
    const cut = await warm(
      ...raw((socket) => {
        socket.write(body);
        socket.end();
      }),
      "http://shop.example/1",
    );
    expect([cut.status, cut.err]).toEqual([1, "proxima: 1 of 1 URL failed\n"]);
    expect(cut.out).toContain(
      "http://shop.example/1  the edge closed the connection before the answer ended\n",
    );
    const silent = await warm(
      ...raw((socket) => void socket.write(body)),
      "http://shop.example/1",
      "--timeout",
      "0.2",
    );
    expect(silent.out).toContain("http://shop.example/1  no byte for 0.2 s\n");
    const mute = await warm(...raw(() => {}), "http://shop.example/1", "--timeout", "0.2");
    expect(mute.out).toContain("http://shop.example/1  no byte for 0.2 s\n");
  });

  test("for a stream of events end after its beginning", async () => {
    const { status, report } = await warmJson(...edge(), "http://shop.example/events/1");
    expect([status, report.answered]).toEqual([0, 1]);
  });
});

describe("an edge that is not there", () => {
  test("is told of at once, with the option that names it", async () => {
    const list = file(Array.from({ length: 1_000 }, (_, i) => `http://shop.example/${i}`).join("\n"));
    const { status, out, err } = await warm("--http", "127.0.0.1:1", list);
    expect([status, out]).toEqual([1, ""]);
    expect(err).toBe(
      "proxima: stopped after 0 of 1,000 URLs: nothing listens at 127.0.0.1:1; start proxima, or name its address with --http\n",
    );
    const other = await warm("--https", "127.0.0.1:1", "https://shop.example/sitemap.xml");
    expect(other.err).toContain(
      "nothing listens at 127.0.0.1:1; start proxima, or name its address with --https",
    );
  });

  test("or that answers nothing any more ends the command after some failures", async () => {
    const urls = Array.from({ length: 200 }, (_, i) => `http://shop.example/${i}`);
    const { status, err, report } = await warmJson(
      ...raw((socket) => void socket.end()),
      "--concurrency",
      "4",
      file(urls.join("\n")),
    );
    expect(status).toBe(1);
    expect(report.failures.urls).toBeGreaterThanOrEqual(20);
    expect(report.failures.urls).toBeLessThan(30);
    expect(err).toContain("20 requests in a row got no answer from 127.0.0.1:");
  });
});

describe("Ctrl+C", () => {
  const many = (path = "hit") =>
    file(Array.from({ length: 5_000 }, (_, i) => `http://shop.example/${path}/${i}`).join("\n"));

  test("ends it with the report so far, even while an answer hangs; what was cut short is no failure", async () => {
    const hanging = Promise.withResolvers<void>();
    const options = edge((request) => {
      if (asked.length < 5) return answer(request);
      hanging.resolve();
      return new Promise(() => {});
    });
    const cli = new RunningCli(["warm", ...options, "--rate", "1000", "--concurrency", "1", many()]);
    await hanging.promise;
    expect(await cli.end("SIGINT")).toBe(1);
    expect(cli.out).toMatch(/^5 URLs in /);
    expect(cli.out).not.toContain("failure");
    expect(cli.err).toBe("proxima: stopped after 5 of 5,000 URLs: SIGINT\n");
  });

  test("ends the waiting for standard input too", async () => {
    const child = Bun.spawn(
      [
        process.execPath,
        join(import.meta.dir, "fake-main.ts"),
        "warm",
        ...edge(),
        "http://shop.example/hit/1",
        "-",
      ],
      {
        stdin: "pipe",
        stdout: "pipe",
        stderr: "pipe",
      },
    );
    stops.push(() => child.kill("SIGKILL"));
    // More than a pipe holds: once it is all gone, the command is reading.
    child.stdin.write("# nothing yet\n".repeat(100_000));
    await child.stdin.flush();
    child.kill("SIGINT");
    expect(await child.exited).toBe(1);
    expect(await new Response(child.stderr).text()).toContain("SIGINT");
    expect(asked).toEqual([]);
  });
});

test("on a terminal there is a bar while it runs, and none of it stays; with NO_COLOR it has no colors", async () => {
  const run = async (env: Record<string, string>) => {
    const parts: string[] = [];
    const { NO_COLOR: _, ...inherited } = process.env;
    const child = Bun.spawn(
      [
        process.execPath,
        join(import.meta.dir, "fake-main.ts"),
        "warm",
        ...edge(),
        "--rate",
        "20",
        ...Array.from({ length: 8 }, (_, i) => `http://shop.example/hit/${i}`),
      ],
      {
        env: { ...inherited, TERM: "xterm", ...env },
        terminal: { cols: 70, rows: 24, data: (_, data) => void parts.push(new TextDecoder().decode(data)) },
      },
    );
    stops.push(() => child.kill("SIGKILL"));
    expect(await child.exited).toBe(0);
    for (let i = 0; i < 50 && !parts.join("").includes("status"); i++) await Bun.sleep(20);
    return parts.join("");
  };
  const plain = await run({ NO_COLOR: "1" });
  const lines = plain.split("\r\u001b[K");
  expect(lines.slice(1, -1).join("\n")).toMatch(/^(?:\[#*-*\] \d+ %, \d of 8.*\n?)+$/);
  expect(lines.length).toBeGreaterThan(2);
  expect(lines.at(-1)).toMatch(/^8 URLs in /);
  expect(plain).not.toContain("\u001b[2m");
  expect(await run({})).toContain("\u001b[2m");
});

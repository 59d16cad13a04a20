/** Origins that misbehave, each in one way: what the viewer gets, that nothing of it is stored, and what the log says. */
import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TLSOptions } from "bun";
import { makeAuthority } from "../kit/certificates.ts";
import { startTestEdge } from "../kit/edge.ts";
import { answering, type RawConnection, startRawOrigin } from "../kit/raw-origin.ts";
import { stage } from "../kit/stage.ts";
import { until } from "../kit/upstream-request.ts";

const { stops } = stage();

function folder(): string {
  const made = mkdtempSync(join(tmpdir(), "proxima-misbehaving-"));
  stops.push(() => rmSync(made, { recursive: true, force: true }));
  return made;
}

type Handler = (connection: RawConnection) => Promise<void> | void;

const HEAD = "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Type: text/plain\r\n";
const GOOD = `${HEAD}Content-Length: 4\r\n\r\ngood`;
const CHUNKED = `${HEAD}Transfer-Encoding: chunked\r\n\r\n`;

/** An edge before origins, each under its own name as path, that misbehave until `mend` is called. */
async function edgeBefore(
  handlers: Readonly<Record<string, Handler>>,
  more: { readonly tls?: TLSOptions; readonly origin?: object } = {},
) {
  let isGood = false;
  const origins = Object.entries(handlers).map(([name, handler]) => {
    const origin = startRawOrigin(
      async (connection) => {
        await (isGood ? answering(GOOD)(connection) : handler(connection));
      },
      more.tls === undefined ? {} : { tls: more.tls },
    );
    stops.push(() => origin.stop());
    const timeouts = { firstByteMs: 150, betweenBytesMs: 150 };
    return [name, { url: origin.url, timeouts, ...more.origin }] as const;
  });
  const log = join(folder(), "access.log");
  const edge = await startTestEdge({
    origin: "http://unused.invalid",
    site: { origins: Object.fromEntries(origins) },
    behaviors: origins.map(([name]) => ({ path: `/${name}*`, origin: name })),
    config: { accessLog: { file: log } },
  });
  stops.push(() => edge.stop());
  /** Status and body; "broken" when the answer broke off. */
  const get = async (path: string) => {
    try {
      const answer = await edge.get(path);
      return { status: answer.status, body: answer.body, error: errorOf(answer.headers.get("proxy-status")) };
    } catch {
      return { status: "broken", body: null, error: null };
    }
  };
  /** The log's entries, once there are so many. */
  const entries = async (count: number) => {
    let lines: Record<string, unknown>[] = [];
    await until(() => Bun.file(log).size > 0, "the log is written");
    for (let i = 0; i < 100 && lines.length < count; i++) {
      const whole = (await Bun.file(log).text()).trim().split("\n");
      lines = whole.map((line) => JSON.parse(line) as Record<string, unknown>);
      if (lines.length < count) await Bun.sleep(20);
    }
    return lines;
  };
  return {
    get,
    entries,
    edge,
    mend() {
      isGood = true;
    },
  };
}

function errorOf(proxyStatus: string | null): string | null {
  return /error=([\w-]+)/.exec(proxyStatus ?? "")?.[1] ?? null;
}

/** Writes this and closes, or resets, or leaves the connection open. */
const saying =
  (text: string, end: "end" | "reset" | "stay" = "end"): Handler =>
  async (one) => {
    if ((await one.readHead()) === null) return;
    await one.write(text);
    if (end === "stay") await one.gone();
    else one[end]();
  };
/** Writes it byte by byte, each some time after the other, for ever. */
const trickling =
  (text: string): Handler =>
  async (one) => {
    await one.readHead();
    for (const byte of text) {
      if (!(await one.write(byte))) return;
      await Bun.sleep(20);
    }
    await one.gone();
  };

/** What it does; the viewer's status ("broken": cut off) and the error's name in Proxy-Status and in the log. */
const ROWS: readonly (readonly [what: string, handler: Handler, status: number | "broken", error: string])[] =
  [
    ["resets at once", (one) => one.reset(), 502, "connection_terminated"],
    ["resets after the request", saying("", "reset"), 502, "connection_terminated"],
    ["says nothing", saying("", "stay"), 504, "http_response_timeout"],
    ["trickles its head", trickling(HEAD.repeat(9)), 504, "http_response_timeout"],
    ["breaks off in its status line", saying("HTTP/1.1 20"), 502, "http_response_incomplete"],
    ["breaks off in a field", saying(HEAD.slice(0, -9)), 502, "http_response_incomplete"],
    ["breaks off before the empty line", saying(HEAD), 502, "http_response_incomplete"],
    ["breaks off at the body", saying(GOOD.slice(0, -4)), "broken", "http_response_incomplete"],
    ["breaks off in the body", saying(GOOD.slice(0, -1)), "broken", "http_response_incomplete"],
    ["resets in the body", saying(GOOD.slice(0, -1), "reset"), "broken", "http_response_incomplete"],
    ["stops in the body", saying(GOOD.slice(0, -1), "stay"), "broken", "http_response_timeout"],
    ["breaks off in a chunk's size", saying(`${CHUNKED}4`), "broken", "http_response_incomplete"],
    ["breaks off in a chunk's data", saying(`${CHUNKED}4\r\ngo`), "broken", "http_response_incomplete"],
    ["breaks off after a chunk", saying(`${CHUNKED}4\r\ngood\r\n`), "broken", "http_response_incomplete"],
    [
      "breaks off before the last line",
      saying(`${CHUNKED}4\r\ngood\r\n0\r\n`),
      "broken",
      "http_response_incomplete",
    ],
    [
      "names two lengths",
      saying(GOOD.replace("\r\n\r\n", "\r\nContent-Length: 5\r\n\r\n")),
      502,
      "http_protocol_error",
    ],
    ["speaks no HTTP", saying("SSH-2.0-OpenSSH\r\n", "stay"), 502, "http_protocol_error"],
    [
      "answers 304 without a condition",
      saying('HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n\r\n'),
      502,
      "http_protocol_error",
    ],
    [
      "answers 206 unasked",
      saying(
        `${GOOD.replace("200 OK", "206 Partial Content").replace("\r\n\r\n", "\r\nContent-Range: bytes 0-3/9\r\n\r\n")}`,
      ),
      502,
      "http_protocol_error",
    ],
  ];

describe("an origin that", () => {
  test("misbehaves: the viewer is told or cut off, nothing is stored, and the log says why", async () => {
    const handlers = Object.fromEntries(ROWS.map(([, handler], i) => [`row${i}-`, handler]));
    const { get, entries, mend, edge } = await edgeBefore(handlers);
    const first = await Promise.all(ROWS.map((_, i) => get(`/row${i}-`)));
    for (const [i, [what, , status, error]] of ROWS.entries()) {
      const seen = first[i];
      // A body that is small and was cut soon may have become an error in time.
      const statuses = status === "broken" ? ["broken", 502, 504] : [status];
      expect([what, seen?.body === "good"]).toEqual([what, false]);
      expect([what, statuses]).toEqual([what, expect.arrayContaining([seen?.status])]);
      if (status !== "broken") expect([what, seen?.error]).toEqual([what, error]);
    }
    mend();
    const second = await Promise.all(ROWS.map((_, i) => get(`/row${i}-`)));
    expect(second.map(({ status, body }) => `${status} ${body}`)).toEqual(ROWS.map(() => "200 good"));
    const log = await entries(2 * ROWS.length);
    const { origins } = (await edge.edge.stats()).upstream;
    for (const [i, [what, , , error]] of ROWS.entries()) {
      const entry = log.find(({ path }) => path === `/row${i}-`);
      expect([what, entry?.originName]).toEqual([what, `row${i}-`]);
      expect([what, entry?.error]).toEqual([what, expect.stringContaining(error)]);
      expect([what, origins.find(({ name }) => name === `row${i}-`)]).toEqual([
        what,
        expect.objectContaining({ requests: 2, inFlight: 0 }),
      ]);
    }
  });

  test("sends 100 MB of header is cut off at the limit", async () => {
    let sent = 0;
    const piece = Buffer.from(`X-Junk: ${"x".repeat(8_000)}\r\n`.repeat(12));
    const app: Handler = async (one) => {
      await one.readHead();
      await one.write("HTTP/1.1 200 OK\r\n");
      while (sent < 100 * 1024 * 1024 && (await one.write(piece))) sent += piece.byteLength;
    };
    const { get, mend } = await edgeBefore({ app });
    expect(await get("/app")).toMatchObject({ status: 502, error: "http_response_header_section_size" });
    // What the sockets between us hold, and not much more.
    expect(sent).toBeLessThan(16 * 1024 * 1024);
    mend();
    expect(await get("/app")).toMatchObject({ status: 200, body: "good" });
  });

  test("trickles a body is read to its end, as long as something comes", async () => {
    const app: Handler = async (one) => {
      await one.readHead();
      await one.write(`${HEAD}Content-Length: 50\r\n\r\n`);
      for (let i = 0; i < 50; i++) {
        await one.write("x");
        await Bun.sleep(5);
      }
    };
    const { get } = await edgeBefore({ app });
    expect(await get("/app")).toMatchObject({ status: 200, body: "x".repeat(50) });
  });

  test("sends more than it said is used for its answer, and its connection for nothing else", async () => {
    const more = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    const app = saying(`${GOOD.replace("max-age=600", "no-store")}${more}`, "stay");
    const { get, mend } = await edgeBefore({ app });
    expect(await get("/app")).toMatchObject({ status: 200, body: "good" });
    mend();
    expect(await get("/app")).toMatchObject({ status: 200, body: "good" });
  });

  test("redirects is not followed: the viewer is told where to", async () => {
    const moved = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/x\r\nContent-Length: 0\r\n\r\n";
    const { get } = await edgeBefore({ app: answering(moved) });
    expect((await get("/app")).status).toBe(302);
  });

  test("answers a burst of errors is passed on, none of them stored, and is well right after", async () => {
    const app = saying("HTTP/1.1 503 Unavailable\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbusy");
    const { get, mend, edge } = await edgeBefore({ app });
    for (let i = 0; i < 20; i++) expect(await get("/app")).toMatchObject({ status: 503, body: "busy" });
    expect((await edge.edge.stats()).upstream.origins[0]?.state).toBe("down");
    mend();
    // Nothing can stand for it: it is asked all the same, and comes back by answering.
    for (let i = 0; i < 3; i++) expect(await get(`/app${i}`)).toMatchObject({ status: 200, body: "good" });
    expect((await edge.edge.stats()).upstream.origins[0]?.state).toBe("up");
    expect(edge.messages.filter((message) => message.includes("origin app"))).toEqual([
      "error: origin app of site test is down, its groups leave it out for 10 s: 5 requests in a row failed, the last: it answered 503",
      "info: origin app of site test is up again",
    ]);
  });

  test.each([
    ["an expired certificate", ["127.0.0.1"], true],
    ["a certificate for another name", ["other.example"], false],
  ])("has %s gets no request", async (_what, names, expired) => {
    const authority = await makeAuthority();
    const { cert, key } = await authority.issue(names, { expired });
    const ca = join(folder(), "ca.pem");
    await Bun.write(ca, authority.pem);
    let requests = 0;
    const app: Handler = async (one) => {
      if ((await one.readHead()) !== null) requests++;
    };
    const { get, entries } = await edgeBefore(
      { app },
      { tls: { cert, key }, origin: { tls: { caFile: ca } } },
    );
    expect(await get("/app")).toMatchObject({ status: 502, error: "tls_certificate_error" });
    expect(requests).toBe(0);
    expect(String((await entries(1))[0]?.error)).toContain("has no valid certificate for 127.0.0.1");
  });
});

/** Collapsed forwarding: many viewers of one object are one request to the origin, and none of them waits for another's sake. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { ManualClock, systemClock } from "../../src/base/clock.ts";
import { startTestEdge, type TestEdge, type TestEdgeOptions } from "../kit/edge.ts";
import { Http2Viewer } from "../kit/http2-viewer.ts";
import { startOrigin, type TestOrigin, text } from "../kit/origin.ts";
import { type RawConnection, type RawOrigin, startRawOrigin } from "../kit/raw-origin.ts";
import { RawViewer } from "../kit/raw-viewer.ts";
import { until } from "../kit/upstream-request.ts";

let clock: ManualClock;
let origin: TestOrigin;
let edge: TestEdge;
const stops: (() => unknown)[] = [];

beforeEach(() => {
  clock = new ManualClock(Date.now());
  origin = startOrigin(() => text("unset", { "cache-control": "no-store" }), clock);
});
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
  await origin.stop();
});

async function start(options: Partial<TestEdgeOptions> = {}): Promise<TestEdge> {
  const started = await startTestEdge({ origin: origin.url, clock, ...options });
  stops.push(() => started.stop());
  return started;
}

function raw(handler: (connection: RawConnection) => Promise<void> | void): RawOrigin {
  const started = startRawOrigin(handler);
  stops.push(() => started.stop());
  return started;
}

/** So many viewers at once, each with a connection of its own: the runtime's fetch would make the 257th wait. */
function viewers(count: number, path: string, headers: Record<string, string> = {}): Promise<ViewerAnswer>[] {
  return Array.from({ length: count }, () => viewer(path, headers));
}

interface ViewerAnswer {
  readonly status: number;
  readonly body: string;
  readonly cacheStatus: string;
  readonly cache: string;
  readonly head: string;
}

async function viewer(
  path: string,
  headers: Record<string, string> = {},
  method = "GET",
): Promise<ViewerAnswer> {
  const { status, head, body, whole } = await RawViewer.ask(path, {
    port: edge.port,
    headers,
    method,
  }).answer(method === "HEAD");
  if (!whole) throw new Error(`the answer to ${path} is not whole: ${head}`);
  const field = (name: string) => new RegExp(`^${name}: (.*)$`, "im").exec(head)?.[1] ?? "";
  return {
    status,
    body: body.toString("latin1"),
    head,
    cacheStatus: field("cache-status"),
    cache: field("x-cache"),
  };
}

/** Waits until the edge has this many requests in its hands. */
const inFlight = (count: number) =>
  until(() => edge.edge.stats().requestsInFlight >= count, `${count} requests are in flight`);

/** Connections of a raw origin that the edge has not closed. */
const openConnections = (from: RawOrigin) => from.connections.filter(({ ended }) => !ended).length;

describe("viewers of a cold object", () => {
  test("1,000 at once make one origin request, and say in Cache-Status who collapsed", async () => {
    edge = await start();
    const gate = Promise.withResolvers<void>();
    origin.answer(async () => {
      await gate.promise;
      return text("cold", { "cache-control": "max-age=10" });
    });
    const asked = viewers(1_000, "/cold");
    await inFlight(1_000);
    gate.resolve();
    const answers = await Promise.all(asked);
    expect(new Set(answers.map(({ body, status }) => `${status} ${body}`))).toEqual(new Set(["200 cold"]));
    expect(origin.count()).toBe(1);
    const collapsed = answers.filter(({ cacheStatus }) => cacheStatus.includes("; collapsed"));
    expect(collapsed).toHaveLength(999);
    expect(answers.filter(({ cacheStatus }) => cacheStatus.includes("; stored"))).toHaveLength(1);
    expect(edge.edge.stats().requestsInFlight).toBe(0);
  });

  test("get it although the viewer that started it left before the origin answered", async () => {
    edge = await start();
    const gate = Promise.withResolvers<void>();
    origin.answer(async () => {
      await gate.promise;
      return text("still here", { "cache-control": "max-age=10" });
    });
    const first = RawViewer.ask("/a", { port: edge.port });
    await until(() => origin.count() === 1, "the origin was asked");
    const others = viewers(50, "/a");
    await inFlight(51);
    first.destroy();
    await Bun.sleep(20);
    gate.resolve();
    for (const { status, body } of await Promise.all(others))
      expect([status, body]).toEqual([200, "still here"]);
    expect(origin.count()).toBe(1);
    expect((await edge.get("/a")).cache).toBe("HIT");
    await until(() => edge.edge.stats().requestsInFlight === 0, "nothing is in flight");
  });

  test("get every byte although the viewer that started it left in the middle of the body", async () => {
    const halves = ["a".repeat(400_000), "b".repeat(400_000)];
    const gate = Promise.withResolvers<void>();
    const slow = raw(async (connection) => {
      await connection.readHead();
      await connection.write(
        `HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncache-control: max-age=10\r\ncontent-length: 800000\r\n\r\n${halves[0]}`,
      );
      await gate.promise;
      await connection.write(halves[1] as string);
    });
    edge = await start({ origin: slow.url });
    const first = RawViewer.ask("/a", { port: edge.port });
    await first.until("aaaa");
    const others = Array.from({ length: 20 }, () => RawViewer.ask("/a", { port: edge.port }));
    for (const viewer of others) await viewer.until("aaaa");
    first.destroy();
    await Bun.sleep(20);
    gate.resolve();
    for (const viewer of others) {
      const { status, body, whole } = await viewer.answer();
      expect([status, whole, body.length, body.toString("latin1") === halves.join("")]).toEqual([
        200,
        true,
        800_000,
        true,
      ]);
    }
    expect(slow.connections).toHaveLength(1);
    expect((await edge.get("/a")).cache).toBe("HIT");
  });

  test("store it although every viewer left", async () => {
    edge = await start();
    const gate = Promise.withResolvers<void>();
    origin.answer(async () => {
      await gate.promise;
      return text("for the next one", { "cache-control": "max-age=10" });
    });
    const leaving = Array.from({ length: 10 }, () => RawViewer.ask("/a", { port: edge.port }));
    await inFlight(10);
    for (const viewer of leaving) viewer.destroy();
    await Bun.sleep(20);
    gate.resolve();
    await until(() => edge.edge.stats().requestsInFlight === 0, "nothing is in flight");
    expect(await edge.get("/a")).toMatchObject({ cache: "HIT", body: "for the next one" });
  });

  test("over HTTP/1.1 and HTTP/2 together make one origin request", async () => {
    edge = await start({ https: true });
    const gate = Promise.withResolvers<void>();
    origin.answer(async () => {
      await gate.promise;
      return text("both", { "cache-control": "max-age=10" });
    });
    const session = new Http2Viewer(edge.httpsUrl, edge.ca);
    stops.push(() => session.close());
    const h2 = Array.from({ length: 40 }, () => session.get("/a"));
    const h1 = Array.from({ length: 40 }, () => RawViewer.ask("/a", { port: edge.httpsPort, ca: edge.ca }));
    await inFlight(80);
    gate.resolve();
    for (const { status, body, error } of await Promise.all(h2))
      expect([status, String(body), error]).toEqual([200, "both", null]);
    for (const viewer of h1)
      expect(await viewer.answer()).toMatchObject({ status: 200, whole: true, body: Buffer.from("both") });
    expect(origin.count()).toBe(1);
  });

  test("ask one by one each for themselves where the behavior says collapse: false", async () => {
    edge = await start({ behavior: { collapse: false } });
    const gate = Promise.withResolvers<void>();
    origin.answer(async () => {
      await gate.promise;
      return text("own", { "cache-control": "max-age=10" });
    });
    const asked = viewers(20, "/a");
    await until(() => origin.count() === 20, "all 20 reached the origin");
    gate.resolve();
    for (const { body } of await Promise.all(asked)) expect(body).toBe("own");
  });
});

describe("viewers of what turns out not to be cacheable", () => {
  for (const cacheControl of ["no-store", "private", "no-cache"]) {
    test(`wait for the first answer and then all go at once, not one by one (${cacheControl})`, async () => {
      edge = await start();
      const originMs = 150;
      let now = 0;
      let most = 0;
      origin.answer(async () => {
        most = Math.max(most, ++now);
        await Bun.sleep(originMs);
        now--;
        return text(`mine ${crypto.randomUUID()}`, { "cache-control": cacheControl });
      });
      const startMs = performance.now();
      const took: number[] = [];
      const answers = await Promise.all(
        viewers(200, "/personal").map(async (asked) => {
          const answer = await asked;
          took.push(performance.now() - startMs);
          return answer;
        }),
      );
      expect(new Set(answers.map(({ body }) => body)).size).toBe(200);
      expect(most).toBeGreaterThan(100);
      // One wait for the answer that could not be shared, one for their own; the rest is this machine's.
      expect(Math.max(...took)).toBeLessThan(originMs * 2 + 600);
      // From now on nobody waits for anybody.
      most = 0;
      await Promise.all(viewers(50, "/personal"));
      expect(most).toBe(50);
    });
  }

  test("do not wait for each other when each answer has to be validated", async () => {
    edge = await start();
    let now = 0;
    let most = 0;
    origin.answer(async (request) => {
      most = Math.max(most, ++now);
      await Bun.sleep(100);
      now--;
      if (request.headers.get("if-none-match") === '"1"')
        return new Response(null, { status: 304, headers: { etag: '"1"' } });
      return text("check me", { "cache-control": "no-cache", etag: '"1"' });
    });
    const startMs = performance.now();
    const answers = await Promise.all(viewers(100, "/checked"));
    expect(performance.now() - startMs).toBeLessThan(900);
    expect(new Set(answers.map(({ body, status }) => `${status} ${body}`))).toEqual(
      new Set(["200 check me"]),
    );
    expect(origin.count()).toBe(100);
    expect(most).toBeGreaterThan(50);
  });

  test("do not wait for the end of a slow body that each has to validate for itself", async () => {
    const gate = Promise.withResolvers<void>();
    let number = 0;
    const slow = raw(async (connection) => {
      await connection.readHead();
      const own = ++number;
      await connection.write(
        `HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncache-control: no-cache\r\netag: "1"\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n`,
      );
      if (own === 1) await gate.promise;
      await connection.write("0\r\n\r\n");
    });
    edge = await start({ origin: slow.url });
    const first = RawViewer.ask("/a", { port: edge.port });
    await until(() => slow.connections.length === 1, "the origin was asked");
    const others = viewers(20, "/a");
    await inFlight(21);
    for (let waitedMs = 0; edge.edge.stats().requestsInFlight > 1; waitedMs += 100) {
      expect(waitedMs).toBeLessThan(1_000);
      clock.advance(100);
      await Bun.sleep(5);
    }
    for (const { body } of await Promise.all(others)) expect(body).toBe("hello");
    gate.resolve();
    expect(String((await first.answer()).body)).toBe("hello");
  });

  test("leave no origin connection behind when the one who started it has left", async () => {
    for (const path of ["/before", "/after"]) {
      const gate = Promise.withResolvers<void>();
      const drip = raw(async (connection) => {
        await connection.readHead();
        await gate.promise;
        await connection.write(
          "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncache-control: no-store\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        );
        await connection.gone();
      });
      edge = await start({ origin: drip.url, clock: systemClock });
      const viewer = RawViewer.ask(path, { port: edge.port });
      await until(() => drip.received().includes("\r\n\r\n"), "the origin was asked");
      if (path === "/after") {
        gate.resolve();
        await viewer.until("hello");
      }
      viewer.destroy();
      await Bun.sleep(30);
      gate.resolve();
      await until(() => openConnections(drip) === 0, `the origin connection of ${path} is closed`);
      await until(() => edge.edge.stats().requestsInFlight === 0, "nothing is in flight");
    }
  });
});

describe("viewers of a new URL", () => {
  /** Asks for so many URLs of a folder, one after the other. */
  async function ask(folder: string, count: number): Promise<void> {
    for (let i = 0; i < count; i++) await edge.get(`${folder}${crypto.randomUUID()}`);
  }

  /** Requests that the origin has before it answers the first of 100 viewers of one new URL; waits for `expected` of them. */
  async function together(path: string, cacheControl: string, expected: number): Promise<number> {
    const gate = Promise.withResolvers<void>();
    origin.answer(async () => {
      await gate.promise;
      return text("new", { "cache-control": cacheControl });
    });
    const before = origin.count();
    const asked = viewers(100, path);
    await inFlight(100);
    await until(() => origin.count() - before >= expected, `the origin has ${expected} requests`);
    await Bun.sleep(20);
    const count = origin.count() - before;
    gate.resolve();
    for (const { status, body } of await Promise.all(asked)) expect([status, body]).toEqual([200, "new"]);
    return count;
  }

  const answering = (cacheControl: string, status = 200) =>
    origin.answer(() => new Response("x", { status, headers: { "cache-control": cacheControl } }));

  test("whose neighbours could not be stored do not wait at all", async () => {
    edge = await start();
    answering("no-store");
    await ask("/mine/", 6);
    // One of them asked for again and again is still one.
    for (let i = 0; i < 20; i++) await edge.get("/mine/again");
    expect(await together("/mine/eighth", "no-store", 1)).toBe(1);
    expect(await together("/mine/new", "no-store", 100)).toBe(100);
    expect(await together("/other/new", "no-store", 1)).toBe(1);
  });

  test("are one request where one neighbour could be stored", async () => {
    edge = await start();
    answering("no-store");
    await ask("/mixed/", 10);
    answering("max-age=10");
    await ask("/mixed/", 1);
    answering("no-store");
    await ask("/mixed/", 10);
    expect(await together("/mixed/new", "max-age=10", 1)).toBe(1);
  });

  test("are one request again after a wrong guess, whose answer is stored", async () => {
    edge = await start();
    answering("no-store");
    await ask("/a/", 8);
    expect(await together("/a/storable", "max-age=10", 100)).toBe(100);
    expect((await viewer("/a/storable")).cache).toBe("HIT");
    expect(await together("/a/next", "max-age=10", 1)).toBe(1);
  });

  test("are one request although the origin failed, or knew nothing, eight times", async () => {
    edge = await start();
    for (const status of [404, 503]) {
      answering("no-store", status);
      await ask("/img/", 20);
    }
    expect(await together("/img/new", "max-age=10", 1)).toBe(1);
  });

  test("are one request after a config that may store it", async () => {
    edge = await start();
    answering("no-store");
    await ask("/b/", 8);
    await edge.apply({ behavior: { browserTtlSeconds: 1 } });
    expect(await together("/b/new", "no-store", 1)).toBe(1);
  });
});

describe("viewers of an origin that fails", () => {
  test("share the error of a connection that could not be made", async () => {
    const dead = raw((connection) => connection.reset());
    edge = await start({ origin: dead.url });
    const answers = await Promise.all(viewers(50, "/a"));
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([502]));
    for (const { head } of answers) expect(head.toLowerCase()).toMatch(/proxy-status: .*error=/);
    expect(dead.connections.length).toBeLessThan(5);
    // An error is not stored: the next viewer asks again.
    const before = dead.connections.length;
    await edge.get("/a");
    expect(dead.connections.length).toBe(before + 1);
  });

  test("share one 5xx, and the next one asks again", async () => {
    edge = await start();
    const gate = Promise.withResolvers<void>();
    origin.answer(async () => {
      await gate.promise;
      return text("overloaded", {}, 503);
    });
    const asked = viewers(200, "/a");
    await inFlight(200);
    gate.resolve();
    for (const { status, body } of await Promise.all(asked))
      expect([status, body]).toEqual([503, "overloaded"]);
    expect(origin.count()).toBe(1);
    await edge.get("/a");
    expect(origin.count()).toBe(2);
  });

  test("share one 5xx in place of an expired object, a HEAD among them", async () => {
    edge = await start();
    origin.answer(() => text("good", { "cache-control": "max-age=10, must-revalidate", etag: '"1"' }));
    await edge.get("/a");
    clock.advance(11_000);
    const gate = Promise.withResolvers<void>();
    origin.answer(async () => {
      await gate.promise;
      // Longer than what is sent whole, and in pieces: those who read it depend on the shared body.
      const pieces = ["x".repeat(200_000), "y".repeat(200_000), "z"];
      return new Response(
        new ReadableStream({
          async pull(controller) {
            const piece = pieces.shift();
            if (piece === undefined) return controller.close();
            await Bun.sleep(20);
            controller.enqueue(new TextEncoder().encode(piece));
          },
        }),
        { status: 500, headers: { "content-type": "text/plain" } },
      );
    });
    const head = viewer("/a", {}, "HEAD");
    await inFlight(1);
    const asked = viewers(10, "/a");
    const headToo = viewer("/a", {}, "HEAD");
    await inFlight(12);
    gate.resolve();
    expect((await head).status).toBe(500);
    expect((await headToo).status).toBe(500);
    for (const { status, body } of await Promise.all(asked))
      expect([status, body.length]).toEqual([500, 400_001]);
    expect(origin.count()).toBe(2);
  });
});

describe("viewers of an expired object", () => {
  test("500 at once make one revalidation", async () => {
    edge = await start();
    origin.answer(() => text("v1", { "cache-control": "max-age=10", etag: '"1"' }));
    await edge.get("/a");
    clock.advance(11_000);
    const gate = Promise.withResolvers<void>();
    origin.answer(async (request) => {
      await gate.promise;
      if (request.headers.get("if-none-match") !== '"1"') return text("no condition", {}, 500);
      return new Response(null, { status: 304, headers: { etag: '"1"', "cache-control": "max-age=10" } });
    });
    const asked = viewers(500, "/a");
    await inFlight(500);
    gate.resolve();
    for (const { status, body, cache } of await Promise.all(asked))
      expect([status, body, cache]).toEqual([200, "v1", "REVALIDATED"]);
    expect(origin.count()).toBe(2);
  });

  test("500 at once of one that may be served stale make one request in the background", async () => {
    edge = await start();
    origin.answer(() => text("v1", { "cache-control": "max-age=10, stale-while-revalidate=60" }));
    await edge.get("/a");
    clock.advance(11_000);
    const gate = Promise.withResolvers<void>();
    origin.answer(async () => {
      await gate.promise;
      return text("v2", { "cache-control": "max-age=10, stale-while-revalidate=60" });
    });
    // Nobody waits for the origin, which has not answered yet.
    for (const { body, cache } of await Promise.all(viewers(500, "/a")))
      expect([body, cache]).toEqual(["v1", "UPDATING"]);
    expect(origin.count()).toBe(2);
    gate.resolve();
    await until(() => edge.edge.stats().store.objects === 1, "one object");
    await until(() => origin.count() === 2, "one request");
    for (;;) {
      const { body, cache } = await edge.get("/a");
      if (body === "v2") {
        expect(cache).toBe("HIT");
        break;
      }
    }
  });

  test("are all served stale when the origin fails, after one request", async () => {
    edge = await start();
    origin.answer(() => text("v1", { "cache-control": "max-age=10, stale-if-error=60" }));
    await edge.get("/a");
    clock.advance(11_000);
    const gate = Promise.withResolvers<void>();
    origin.answer(async () => {
      await gate.promise;
      return text("down", {}, 503);
    });
    const asked = viewers(100, "/a");
    await inFlight(100);
    gate.resolve();
    for (const { status, body, cache } of await Promise.all(asked))
      expect([status, body, cache]).toEqual([200, "v1", "STALE"]);
    expect(origin.count()).toBe(2);
  });
});

describe("viewers who want something else of the same URL", () => {
  test("do not get another variant than their own where the answer turns out to vary", async () => {
    edge = await start();
    const gate = Promise.withResolvers<void>();
    origin.answer(async (request) => {
      await gate.promise;
      const language = request.headers.get("accept-language") ?? "none";
      return text(`in ${language}`, { "cache-control": "max-age=10", vary: "accept-language" });
    });
    const languages = ["en", "de", "fr", "pt"];
    const asked = languages.flatMap((language) =>
      viewers(25, "/a", { "accept-language": language }).map(async (one) => [language, (await one).body]),
    );
    await inFlight(100);
    gate.resolve();
    for (const [language, body] of await Promise.all(asked)) expect(body).toBe(`in ${language}`);
    // One for each language, but for those that met while the variants were not known yet.
    expect(origin.count()).toBeLessThanOrEqual(8);
    for (const language of languages) {
      expect(await edge.get("/a", { "accept-language": language })).toMatchObject({
        cache: "HIT",
        body: `in ${language}`,
      });
    }
  });

  test("get their ranges cut from the one body, whoever came first", async () => {
    for (const [path, lead] of [
      ["/whole-first", {}],
      ["/range-first", { range: "bytes=10-19" }],
    ] as const) {
      edge = await start();
      const body = Array.from({ length: 60_000 }, (_, i) => "0123456789"[i % 10]).join("");
      const gate = Promise.withResolvers<void>();
      const asks = origin.count(path);
      origin.answer(async () => {
        await gate.promise;
        return text(body, { "cache-control": "max-age=10", "content-length": "60000" });
      });
      const first = edge.get(path, lead);
      await until(() => origin.count(path) > asks, "the origin was asked");
      const ranges = [0, 7, 30_000, 59_000].map(
        (from) => [from, edge.get(path, { range: `bytes=${from}-${from + 99}` })] as const,
      );
      const whole = viewers(5, path);
      const heads = Array.from({ length: 3 }, () => viewer(path, {}, "HEAD"));
      await inFlight(13);
      gate.resolve();
      const led = await first;
      expect([led.status, led.body]).toEqual("range" in lead ? [206, body.slice(10, 20)] : [200, body]);
      for (const [from, asked] of ranges) {
        const answer = await asked;
        expect([answer.status, answer.headers.get("content-range")]).toEqual([
          206,
          `bytes ${from}-${from + 99}/60000`,
        ]);
        expect(answer.body).toBe(body.slice(from, from + 100));
      }
      for (const answer of await Promise.all(whole))
        expect([answer.status, answer.body === body]).toEqual([200, true]);
      for (const answer of await Promise.all(heads)) expect([answer.status, answer.body]).toEqual([200, ""]);
      const gets = origin.seen.filter(({ target, method }) => target === path && method === "GET");
      expect(gets).toHaveLength(1);
      expect(gets[0]?.headers.has("range")).toBe(false);
      expect(edge.edge.stats().requestsInFlight).toBe(0);
    }
  });

  test("get a range of a large body without waiting for its end", async () => {
    const gate = Promise.withResolvers<void>();
    const slow = raw(async (connection) => {
      await connection.readHead();
      await connection.write(
        `HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncache-control: max-age=10\r\ncontent-length: 800000\r\n\r\n${"a".repeat(400_000)}`,
      );
      await gate.promise;
      await connection.write("b".repeat(400_000));
    });
    edge = await start({ origin: slow.url });
    const first = edge.get("/a");
    await until(() => slow.connections.length === 1, "the origin was asked");
    const early = await edge.get("/a", { range: "bytes=0-99" });
    expect([early.status, early.body]).toEqual([206, "a".repeat(100)]);
    gate.resolve();
    expect((await first).bytes.length).toBe(800_000);
    expect(slow.connections).toHaveLength(1);
  });
});

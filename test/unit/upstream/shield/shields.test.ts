/** The choice among shields, over sockets: by the key, past what is down, and how a hanging one is told from one that waits. */
import { afterEach, describe, expect, test } from "bun:test";
import { ManualClock } from "../../../../src/base/clock.ts";
import { Fields } from "../../../../src/http/fields.ts";
import { PROBE_AFTER_MS, PROBE_EVERY_MS, PROBE_MS } from "../../../../src/upstream/shield/limits.ts";
import { Shields } from "../../../../src/upstream/shield/shields.ts";
import { PROBE_HOST, tierKey } from "../../../../src/upstream/shield/tier-field.ts";

const KEY = tierKey("a secret of more than thirty-two characters");
const stops: (() => unknown)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

/** A shield that a test writes: `answer` for requests, `alive` for probes; a promise that never ends hangs. */
function fakeShield(state: { alive?: boolean; answer?: () => Response | Promise<Response> } = {}) {
  const seen: string[] = [];
  let probes = 0;
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    idleTimeout: 0,
    async fetch(request) {
      if (request.headers.get("host") === PROBE_HOST) {
        probes++;
        if (state.alive === false) await new Promise(() => {});
        return new Response(null, { status: 204, headers: { "x-proxima-tier": "1" } });
      }
      seen.push(new URL(request.url).pathname);
      return (await state.answer?.()) ?? new Response("x", { headers: { "x-proxima-tier": "1" } });
    },
  });
  stops.push(() => server.stop(true));
  return { url: `http://127.0.0.1:${server.port}`, seen, state, probes: () => probes };
}

function make(places: Record<string, readonly string[]>, clock = new ManualClock()) {
  const messages: string[] = [];
  const shields = new Shields({
    places: Object.entries(places).map(([name, urls]) => ({ name, urls, tls: {} })),
    clock,
    key: KEY,
    tell: (message) => messages.push(message),
  });
  stops.push(() => shields.close());
  const ask = (path: string, more: { method?: string; signal?: AbortSignal } = {}) =>
    shields.fetch(
      {
        method: more.method ?? "GET",
        scheme: "http",
        authority: "shop.example",
        target: path,
        fields: new Fields(),
        body: null,
        bodyLength: null,
        signal: more.signal ?? null,
        client: "192.0.2.1",
        asked: null,
        shields: Object.keys(places),
        key: path,
      },
      { headMsMax: 30_000, betweenBytesMs: 30_000 },
    );
  return { ask, shields, clock, messages };
}

async function until(check: () => boolean): Promise<void> {
  const endMs = performance.now() + 5_000;
  while (!check() && performance.now() < endMs) await Bun.sleep(2);
  expect(check()).toBe(true);
}

const NEVER = () => new Promise<Response>(() => {});

describe("the nodes of a shield", () => {
  test("share the keys: each is asked of one of them, and of the others only while that one is down", async () => {
    const nodes = [fakeShield(), fakeShield(), fakeShield()];
    const { ask } = make({ fra: nodes.map(({ url }) => url) });
    const paths = Array.from({ length: 90 }, (_, i) => `/${i}`);
    for (const path of [...paths, ...paths]) await ask(path);
    for (const { seen } of nodes) {
      expect(seen.length).toBeGreaterThan(20);
      // Each of its keys came twice: none was asked of two.
      expect(new Set(seen).size * 2).toBe(seen.length);
    }
    const gone = make({ fra: ["http://127.0.0.1:1", ...nodes.map(({ url }) => url)] });
    for (const path of paths) expect(await gone.ask(path)).not.toBeNull();
    expect(gone.messages.length).toBe(1);
  });

  test("come before the next shield, and all of them before the origin; three that fail are not all tried", async () => {
    const next = fakeShield();
    const { ask } = make({ fra: ["http://127.0.0.1:1"], ams: [next.url] });
    expect((await ask("/a"))?.by).toBe("shield ams");
    const dead = make({ fra: ["http://127.0.0.1:1"], ams: ["http://127.0.0.1:2"], lon: [next.url] });
    expect(await dead.ask("/b")).toBeNull();
    expect(next.seen).toEqual(["/a"]);
  });
});

describe("a shield that does not answer", () => {
  test("and is alive waits for its origin: it is waited for, and stays up", async () => {
    const slow = Promise.withResolvers<Response>();
    const shield = fakeShield({ answer: () => slow.promise });
    const { ask, clock, messages } = make({ fra: [shield.url] });
    const pending = ask("/a");
    await until(() => shield.seen.length === 1);
    for (let i = 1; i <= 5; i++) {
      clock.advance(PROBE_AFTER_MS);
      await until(() => shield.probes() === i);
      await Bun.sleep(5);
    }
    slow.resolve(new Response("late", { headers: { "x-proxima-tier": "1" } }));
    expect((await pending)?.response.status).toBe(200);
    expect(messages).toEqual([]);
  });

  test("and hangs is left at once by all who wait, then by nobody, until a probe is answered", async () => {
    const shield = fakeShield({ alive: false, answer: NEVER });
    const { ask, clock, messages } = make({ fra: [shield.url] });
    const waiting = Array.from({ length: 20 }, (_, i) => ask(`/${i}`));
    await until(() => shield.seen.length === 20);
    clock.advance(PROBE_AFTER_MS);
    await until(() => shield.probes() === 1);
    clock.advance(PROBE_MS);
    expect(await Promise.all(waiting)).toEqual(waiting.map(() => null));
    expect(messages).toEqual([
      expect.stringContaining("is down, others are asked: it does not answer within 1000 ms"),
    ]);
    // Nobody asks it now.
    expect(await ask("/later")).toBeNull();
    expect(shield.seen.length).toBe(20);
    shield.state.alive = true;
    shield.state.answer = () => new Response("x", { headers: { "x-proxima-tier": "1" } });
    clock.advance(PROBE_EVERY_MS);
    await until(() => shield.probes() === 2);
    await Bun.sleep(20);
    for (let i = 0; i < 3; i++) {
      const answer = await ask(`/again${i}`);
      expect(answer).not.toBeNull();
      while ((await answer?.response.body?.read()) != null);
    }
    expect(messages.at(-1)).toContain("is up again");
  });

  test("is not left by a request that can not be sent twice", async () => {
    const shield = fakeShield({ alive: false, answer: NEVER });
    const { ask, clock } = make({ fra: [shield.url] });
    const giveUp = new AbortController();
    const pending = ask("/a", { method: "POST", signal: giveUp.signal });
    let isOver = false;
    void pending
      .catch(() => undefined)
      .finally(() => {
        isOver = true;
      });
    await until(() => shield.seen.length === 1);
    clock.advance(PROBE_AFTER_MS);
    await until(() => shield.probes() === 1);
    clock.advance(PROBE_MS);
    await Bun.sleep(10);
    expect(isOver).toBe(false);
    giveUp.abort();
    await expect(pending).rejects.toThrow();
  });
});

describe("an answer", () => {
  test("that is cut within a small body costs nobody the answer", async () => {
    const other = fakeShield();
    const cut = Bun.listen({
      hostname: "127.0.0.1",
      port: 0,
      socket: {
        data(socket) {
          socket.write("HTTP/1.1 200 OK\r\nx-proxima-tier: 1\r\ncontent-length: 10\r\n\r\nhalf");
          setTimeout(() => socket.terminate(), 10);
        },
      },
    });
    stops.push(() => cut.stop(true));
    const { ask } = make({ fra: [`http://127.0.0.1:${cut.port}`], ams: [other.url] });
    expect((await ask("/a"))?.by).toBe("shield ams");
  });

  test("that tells of the origin's failure is that failure, and nobody else is asked", async () => {
    const failing = fakeShield({
      answer: () =>
        new Response("page", { status: 504, headers: { "x-proxima-tier": "1;error=http_response_timeout" } }),
    });
    const other = fakeShield();
    const { ask, messages } = make({ fra: [failing.url], ams: [other.url] });
    for (let i = 0; i < 5; i++)
      await expect(ask("/a")).rejects.toMatchObject({ code: "http_response_timeout" });
    expect([failing.seen.length, other.seen.length, messages]).toEqual([5, 0, []]);
  });
});

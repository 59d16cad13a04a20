/** What a group makes of members that fail it, over real sockets. */
import { afterEach, describe, expect, test } from "bun:test";
import { ManualClock } from "../../../../src/base/clock.ts";
import { type BodyReader, bodyOf } from "../../../../src/http/body.ts";
import type { UpstreamRequest } from "../../../../src/upstream/next-hop.ts";
import { type TestGroup, type TestGroupOptions, testGroup } from "../../../kit/group.ts";
import { answering, type RawConnection, type RawOrigin, startRawOrigin } from "../../../kit/raw-origin.ts";
import { failureOf, readText, until, upstreamRequest } from "../../../kit/upstream-request.ts";

const stops: (() => void)[] = [];
afterEach(() => {
  for (const stop of stops.splice(0).reverse()) stop();
});

function raw(handler: (connection: RawConnection) => Promise<void> | void): RawOrigin {
  const origin = startRawOrigin(handler);
  stops.push(() => origin.stop());
  return origin;
}
const ok = (body: string) => `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
const status = (code: number, body = "poor") =>
  `HTTP/1.1 ${code} Poor\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
/** Reads one request, writes this, and closes or resets the connection. */
const saying =
  (text: string, end: "end" | "reset" = "end") =>
  async (one: RawConnection) => {
    await one.readHead();
    await one.write(text);
    one[end]();
  };
const good = () => raw(answering(ok("good")));
/** Nobody listens there any more. */
function gone(): string {
  const origin = startRawOrigin(() => {});
  origin.stop();
  return origin.url;
}
function groupOf(members: (string | RawOrigin)[], options: TestGroupOptions = {}): TestGroup {
  const made = testGroup(
    members.map((member) => (typeof member === "string" ? member : member.url)),
    options,
  );
  stops.push(() => made.close());
  return made;
}
async function ask({ group }: TestGroup, options: Partial<UpstreamRequest> = {}) {
  const response = await group.fetch(upstreamRequest(options));
  return {
    status: response.status,
    by: response.answeredBy,
    fields: response.fields,
    body: await readText(response.body),
  };
}
/** How many requests reached an origin. */
const asked = (origin: RawOrigin) => origin.received().split("HTTP/1.1\r\n").length - 1;

describe("a GET is asked of the next member", () => {
  const silent = async (connection: RawConnection) => {
    await connection.readHead();
    await connection.gone();
  };
  const cut = ok("good").replace("4", "9");
  const chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ngood\r\n";
  const failures: [string, (connection: RawConnection) => Promise<void>][] = [
    ["closes without an answer", saying("")],
    ["resets without an answer", saying("", "reset")],
    ["answers what is not HTTP", answering("SSH-2.0-x\r\n")],
    ["breaks off in its head", saying("HTTP/1.1 200 OK\r\nA: b\r\n")],
    ["breaks off in a small body", saying(cut)],
    ["breaks off in a small chunked body", saying(chunked, "reset")],
    ["sends a head without an end", saying(`HTTP/1.1 200 OK\r\n${"A: b\r\n".repeat(9_000)}`)],
    ["answers 500", answering(status(500))],
    ["answers 503", answering(status(503))],
    ["says nothing", silent],
  ];
  test.each(failures)("when the first %s", async (_what, handler) => {
    const first = raw(handler);
    const made = groupOf([first, good()], { attemptMs: 100 });
    expect(await ask(made)).toMatchObject({ status: 200, by: "m1", body: "good" });
    expect(made.group.counts()).toMatchObject({ requests: 1, failovers: 1, retriesDenied: 0 });
    expect(made.hops[0]?.counts()).toMatchObject({ failures: 1, inFlight: 0 });
  });

  test("when nobody listens at the first, or its name is not known", async () => {
    expect(await ask(groupOf([gone(), good()]))).toMatchObject({ by: "m1", body: "good" });
    expect(await ask(groupOf(["http://name.invalid", good()]))).toMatchObject({ by: "m1", body: "good" });
  });

  test("and the one after that, up to a limit", async () => {
    const last = good();
    expect(await ask(groupOf([gone(), gone(), last]))).toMatchObject({ by: "m2", body: "good" });
    const failure = await failureOf(ask(groupOf([gone(), gone(), last], { attemptsMax: 2 })));
    expect(failure.code).toBe("connection_refused");
    expect(asked(last)).toBe(1);
  });

  test("only for what the group moves on for", async () => {
    const spare = good();
    const criteria = { statuses: new Set([503]), connect: false, timeout: false };
    expect(await ask(groupOf([raw(answering(status(500))), spare], { criteria }))).toMatchObject({
      status: 500,
      by: "m0",
    });
    expect((await failureOf(ask(groupOf([gone(), spare], { criteria })))).code).toBe("connection_refused");
    expect(asked(spare)).toBe(0);
    expect(await ask(groupOf([raw(answering(status(503))), spare], { criteria }))).toMatchObject({
      by: "m1",
    });
  });

  test("and the last poor answer is given when no one has a better one", async () => {
    const made = groupOf([raw(answering(status(503, "first"))), raw(answering(status(502, "second")))]);
    expect(await ask(made)).toMatchObject({ status: 502, body: "second", by: "m1" });
    const then = groupOf([raw(answering(status(503, "first"))), gone()]);
    expect(await ask(then)).toMatchObject({ status: 503, body: "first", by: "m0" });
  });

  test("with the Host that is its own", async () => {
    const spare = good();
    const hostFor = (name: string, authority: string) => `${name}.${authority}`;
    expect(await ask(groupOf([gone(), spare], { hostFor }))).toMatchObject({ by: "m1" });
    expect(spare.received()).toContain("\r\nhost: m1.shop.example\r\n");
  });
});

describe("a large body", () => {
  test("is given on as it comes, and its cut is the viewer's", async () => {
    const first = raw(async (one) => {
      await one.readHead();
      await one.write(`HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n${"x".repeat(1_000)}`);
      one.end();
    });
    const spare = good();
    const made = groupOf([first, spare]);
    expect((await failureOf(ask(made))).code).toBe("http_response_incomplete");
    expect(asked(spare)).toBe(0);
    expect(made.hops[0]?.counts()).toMatchObject({ failures: 1, inFlight: 0 });
  });

  test("whose length is not told is not waited for, and arrives whole", async () => {
    const gate = Promise.withResolvers<void>();
    const first = raw(async (one) => {
      await one.readHead();
      await one.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
      await gate.promise;
      await one.write("3\r\ndef\r\n0\r\n\r\n");
    });
    const made = groupOf([first, good()]);
    const response = await made.group.fetch(upstreamRequest());
    gate.resolve();
    expect(await readText(response.body)).toBe("abcdef");
  });
});

describe("a request that could do harm twice", () => {
  const post = (body: BodyReader | null): Partial<UpstreamRequest> => ({
    method: "POST",
    body,
    bodyLength: body === null ? null : 3,
  });

  test("goes to another member when no connection stood: nothing was sent", async () => {
    const spare = raw(async (one) => {
      await one.readHead();
      await one.readBytes(3);
      await one.write(ok("good"));
    });
    expect(await ask(groupOf([gone(), spare]), post(bodyOf(Buffer.from("abc"))))).toMatchObject({
      by: "m1",
      body: "good",
    });
    expect(spare.received()).toEndWith("\r\n\r\nabc");
  });

  test("is never sent again once it was sent, with a body or without, nor for a status", async () => {
    const spare = good();
    const closing = raw(saying(""));
    expect((await failureOf(ask(groupOf([closing, spare]), post(null)))).code).toBe("connection_terminated");
    const reading = raw(async (one) => {
      await one.readHead();
      await one.readBytes(3);
      one.end();
    });
    const sent = ask(groupOf([reading, spare]), post(bodyOf(Buffer.from("abc"))));
    expect((await failureOf(sent)).code).toBe("connection_terminated");
    expect(await ask(groupOf([raw(answering(status(503))), spare]), post(null))).toMatchObject({
      status: 503,
    });
    expect(asked(spare)).toBe(0);
  });

  test("is not cut short to leave time for another member", async () => {
    const slow = raw(async (one) => {
      await one.readHead();
      await Bun.sleep(60);
      await one.write(ok("slow"));
    });
    expect(await ask(groupOf([slow, good()], { attemptMs: 10 }), post(null))).toMatchObject({ body: "slow" });
  });

  test("is not used to try out a member that was down", async () => {
    const clock = new ManualClock();
    const spare = good();
    const made = groupOf([good(), spare], { clock, holdMs: 1_000 });
    made.hops[0]?.health.downElsewhere(clock.now() + 1_000, "said so", clock.now());
    clock.advance(1_000);
    expect(await ask(made, post(null))).toMatchObject({ by: "m1" });
    expect(await ask(made)).toMatchObject({ by: "m0" });
  });
});

describe("a member that is down", () => {
  test("is not asked, until its time is over; then by one request at a time, and it is back", async () => {
    const clock = new ManualClock();
    let isWell = false;
    const first = raw(async (one) => {
      while ((await one.readHead()) !== null) await one.write(isWell ? ok("back") : status(503));
    });
    const made = groupOf([first, good()], { clock, failures: 3, holdMs: 1_000 });
    for (let i = 0; i < 5; i++) expect(await ask(made)).toMatchObject({ by: "m1", body: "good" });
    expect([asked(first), made.findings]).toEqual([3, ["m0 down"]]);
    clock.advance(1_000);
    // A trial that fails costs the viewer nothing.
    expect(await ask(made)).toMatchObject({ by: "m1" });
    expect([asked(first), made.findings]).toEqual([4, ["m0 down", "m0 down"]]);
    isWell = true;
    clock.advance(2_000);
    for (let i = 0; i < 4; i++) expect(await ask(made)).toMatchObject({ by: "m0", body: "back" });
    expect(made.findings).toEqual(["m0 down", "m0 down", "m0 up"]);
  });

  test("loses those who wait for it: they move on at once, and cost no retry", async () => {
    const first = raw(async (one) => {
      await one.readHead();
      await one.gone();
    });
    const made = groupOf([first, good()], { budget: { fraction: 0, perSecondMin: 0 } });
    const waiting = Array.from({ length: 50 }, () => ask(made));
    await until(() => asked(first) === 50, "all wait for the first");
    made.hops[0]?.health.checked("down", "checks failed", Date.now());
    made.hops[0]?.wentDown();
    for (const answer of await Promise.all(waiting)) expect(answer).toMatchObject({ by: "m1", body: "good" });
    expect(made.group.counts()).toEqual({ requests: 50, failovers: 50, moved: 50, retriesDenied: 0 });
    // It was we who hung up: the origin is not blamed twice.
    expect(made.hops[0]?.counts()).toMatchObject({ failures: 0, inFlight: 0 });
  });

  test("keeps its answer for the very request that put it down", async () => {
    const made = groupOf([raw(answering(status(503, "first"))), gone()], { failures: 1 });
    expect(await ask(made)).toMatchObject({ status: 503, body: "first", by: "m0" });
    expect(made.group.counts()).toMatchObject({ failovers: 1, moved: 0 });
  });

  test("keeps those who wait for it when nobody else is up", async () => {
    const answer = Promise.withResolvers<void>();
    const first = raw(async (one) => {
      await one.readHead();
      await answer.promise;
      await one.write(ok("late"));
    });
    const made = groupOf([first, gone()]);
    made.hops[1]?.health.checked("down", "checks failed", Date.now());
    const waiting = ask(made);
    await until(() => asked(first) === 1, "it waits");
    made.hops[0]?.health.checked("down", "checks failed", Date.now());
    made.hops[0]?.wentDown();
    answer.resolve();
    expect(await waiting).toMatchObject({ by: "m0", body: "late" });
  });

  test("is asked all the same when all are down", async () => {
    const made = groupOf([good(), good()]);
    for (const hop of made.hops) hop.health.checked("down", "checks failed", Date.now());
    expect(await ask(made)).toMatchObject({ by: "m0", body: "good" });
  });
});

describe("the retry budget", () => {
  test("ends what would multiply the load when everything fails", async () => {
    const both = [raw(answering(status(503))), raw(answering(status(503)))];
    const made = groupOf(both, { failures: 1_000, budget: { fraction: 0.2, perSecondMin: 1 } });
    for (let i = 0; i < 100; i++) expect(await ask(made)).toMatchObject({ status: 503 });
    expect(both.reduce((sum, origin) => sum + asked(origin), 0)).toBe(130);
    expect(made.group.counts()).toMatchObject({ failovers: 30, retriesDenied: 70 });
  });

  test("is not touched by leaving a member that is known to be down", async () => {
    const made = groupOf([raw(answering(status(503))), good()], {
      failures: 1,
      budget: { fraction: 0, perSecondMin: 0 },
    });
    for (let i = 0; i < 20; i++) expect(await ask(made)).toMatchObject({ by: "m1" });
  });
});

describe("a viewer who gives up", () => {
  test("ends the attempt, and no other member is asked", async () => {
    const first = raw(async (one) => {
      await one.readHead();
      await one.gone();
    });
    const spare = good();
    const made = groupOf([first, spare]);
    const controller = new AbortController();
    const waiting = failureOf(ask(made, { signal: controller.signal }));
    await until(() => asked(first) === 1, "it waits");
    controller.abort();
    expect((await waiting).code).toBe("http_request_error");
    expect([asked(spare), made.hops[0]?.counts().failures]).toEqual([0, 0]);
  });

  test("in the middle of a body ends it at the origin", async () => {
    const first = raw(async (one) => {
      await one.readHead();
      await one.write(`HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n${"x".repeat(1_000)}`);
      await one.gone();
    });
    const made = groupOf([first, good()]);
    const controller = new AbortController();
    const response = await made.group.fetch(upstreamRequest({ signal: controller.signal }));
    await response.body?.read();
    controller.abort();
    expect((await failureOf(readText(response.body))).code).toBe("http_request_error");
    await until(() => first.connections[0]?.ended === true, "the origin's connection ends");
  });
});

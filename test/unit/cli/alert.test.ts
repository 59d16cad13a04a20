import { afterAll, afterEach, describe, expect, test } from "bun:test";
import { endAll, runCli } from "./run-cli.ts";

const servers: Bun.Server<undefined>[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.stop(true);
});
afterAll(endAll);

/** A control listener that answers as it is told, and what it was asked. */
function control(answer: object, status = 200) {
  const asked: { line: string; body: unknown; authorization: string | null }[] = [];
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    async fetch(request) {
      const text = await request.text();
      asked.push({
        line: `${request.method} ${new URL(request.url).pathname}`,
        body: text === "" ? null : JSON.parse(text),
        authorization: request.headers.get("authorization"),
      });
      return Response.json(answer, { status });
    },
  });
  servers.push(server);
  return { address: `127.0.0.1:${server.port}`, asked };
}

describe("proxima alert test", () => {
  const ok = { channel: "ops", kind: "webhook", delivered: true, problem: null };
  const bad = {
    channel: "mail",
    kind: "email",
    delivered: false,
    problem: "failed: the mail server a:25 can not be reached",
  };

  test("says how each channel took it, and fails when one did not", async () => {
    const { address, asked } = control({ results: [ok, bad] });
    const { status, out } = await runCli(["alert", "test", "--control", address], {
      env: { PROXIMA_CONTROL_TOKEN: "token-of-the-node" },
    });
    expect(status).toBe(1);
    expect(out).toBe(
      "ops   webhook  delivered\nmail  email    not delivered: it failed: the mail server a:25 can not be reached\n",
    );
    expect(asked).toEqual([
      { line: "POST /v1/alerts/test", body: {}, authorization: "Bearer token-of-the-node" },
    ]);
  });

  test("names one channel", async () => {
    const { address, asked } = control({ results: [ok] });
    expect((await runCli(["alert", "test", "--to", "ops", "--control", address])).status).toBe(0);
    expect(asked[0]?.body).toEqual({ to: "ops" });
  });

  test("tells what the node calls wrong", async () => {
    const { address } = control({ detail: 'there is no alert channel "x"; there are ops' }, 400);
    expect(await runCli(["alert", "test", "--to", "x", "--control", address])).toMatchObject({
      status: 2,
      err: 'proxima: there is no alert channel "x"; there are ops\n',
    });
  });
});

test("proxima alert list shows what fires and how the channels stand", async () => {
  const { address } = control({
    firing: [
      {
        kind: "errorRate",
        severity: "critical",
        summary: "all is lost\u001b[2J",
        since: "2026-01-01T00:00:00.000Z",
      },
    ],
    channels: [
      { name: "ops", kind: "webhook", delivered: 3, waiting: 2, problem: "was answered with 503 by a" },
      { name: "chat", kind: "slack", delivered: 0, waiting: 0, problem: null },
    ],
  });
  expect((await runCli(["alert", "list", "--control", address])).out).toBe(
    "critical  all is lost?[2J since 2026-01-01T00:00:00.000Z\n\nops webhook: 3 delivered, 2 waiting, it was answered with 503 by a\nchat slack: 0 delivered\n",
  );
  const quiet = control({ firing: [], channels: [] });
  expect((await runCli(["alert", "list", "--control", quiet.address])).out).toBe(
    "nothing fires\nthere are no channels (alerts.channels)\n",
  );
});

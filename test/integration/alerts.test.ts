/** Alerts of the whole program, with several workers: from errors that viewers get to a webhook, and back. */
import { describe, expect, test } from "bun:test";
import { createHmac } from "node:crypto";
import { makeAuthority } from "../kit/certificates.ts";
import { text } from "../kit/origin.ts";
import { stage } from "../kit/stage.ts";
import { until } from "../kit/upstream-request.ts";

const { app, programs } = stage();
const SECRET = "a-secret-of-more-than-sixteen-bytes";

interface Told {
  readonly state: string;
  readonly key: string;
  readonly summary: string;
}

describe("a running edge", () => {
  test("tells of errors and certificates, is asked for both, and follows its config", async () => {
    const told: Told[] = [];
    let forged = 0;
    const hook = app(async (request) => {
      const body = await request.text();
      const signed = `${request.headers.get("webhook-id")}.${request.headers.get("webhook-timestamp")}.${body}`;
      const signature = `v1,${createHmac("sha256", SECRET).update(signed).digest("base64")}`;
      if (request.headers.get("webhook-signature") !== signature) forged++;
      told.push(...(JSON.parse(body) as { data: { alerts: Told[] } }).data.alerts);
      return text("thanks");
    });
    let status = 503;
    const origin = app(() => text("x", { "cache-control": "no-store" }, status));
    const all = programs();
    const authority = await makeAuthority();
    const pair = await authority.issue(["shop.example"]);
    await all.write("cert.pem", pair.cert);
    await all.write("key.pem", pair.key);
    await all.write("hook-secret", `${SECRET}\n`);
    const configOf = (channels: object) =>
      JSON.stringify({
        listen: {
          http: "127.0.0.1:0",
          https: "127.0.0.1:0",
          control: "127.0.0.1:0",
          http3: false,
          tls: { certificates: [{ cert: "cert.pem", key: "key.pem" }] },
        },
        workers: 2,
        sites: { shop: { hosts: ["*"], origins: { app: { url: origin.url } } } },
        alerts: {
          node: "edge-1",
          everySeconds: 1,
          channels,
          rules: {
            certificate: { days: 60 },
            errorRate: { windowSeconds: 10, holdSeconds: 0, requestsMin: 10 },
          },
        },
      });
    const ops = { webhook: hook.url, secret: { file: "hook-secret" } };
    const config = await all.write("edge.json", configOf({ ops }));
    const program = all.start(["edge", "--config", config]);
    const { http, control } = await program.addresses();
    const address = control.replace("http://", "");

    for (let i = 0; i < 20; i++) expect((await fetch(http)).status).toBe(503);
    await until(() => told.length >= 2, "two alerts", 15_000);
    expect(told.map(({ state, key }) => `${state} ${key}`).sort()).toEqual([
      `firing certificate/${all.folder}/cert.pem`,
      "firing errorRate/shop",
    ]);
    expect(told.find(({ key }) => key === "errorRate/shop")?.summary).toBe(
      "100.0 % of the answers of site shop are errors (5xx); the limit is 5.0 %",
    );
    const listed = await all.run(["alert", "list", "--control", address]);
    expect(listed.out).toContain("critical  100.0 % of the answers of site shop are errors");
    expect(listed.out).toContain("warning   the certificate");

    status = 200;
    for (let i = 0; i < 400; i++) await (await fetch(http)).text();
    await until(() => told.some(({ state }) => state === "resolved"), "the end of the errors", 15_000);

    const tested = await all.run(["alert", "test", "--control", address]);
    expect([tested.status, tested.out]).toEqual([0, "ops  webhook  delivered\n"]);
    expect(told.at(-1)?.summary).toBe("this is a test: nothing is wrong");

    await all.write("edge.json", configOf({ ops, chat: { slack: { env: "PROXIMA_TEST_NO_SUCH_HOOK" } } }));
    await program.until(/channel chat needs PROXIMA_TEST_NO_SUCH_HOOK in the environment, which is not set/);
    const both = await all.run(["alert", "test", "--to", "chat", "--control", address]);
    expect([both.status, both.out]).toEqual([
      1,
      "chat  slack    not delivered: it needs PROXIMA_TEST_NO_SUCH_HOOK in the environment, which is not set\n",
    ]);

    program.kill("SIGTERM");
    const { status: ended, out, err } = await program.end();
    expect(ended).toBe(0);
    expect(forged).toBe(0);
    expect(out + err).not.toContain(SECRET);
    expect(err).toContain("alert firing: 100.0 % of the answers");
  }, 30_000);
});

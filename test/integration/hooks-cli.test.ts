/** Hooks, webhooks and host claims by commands, against a real control plane. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { TestFleet, until } from "../kit/fleet.ts";

let fleet: TestFleet;
beforeAll(async () => {
  fleet = new TestFleet();
  await fleet.ready();
  await fleet.ask("POST", "/v1/apply", { sites: { shop: fleet.site() } });
}, 30_000);
afterAll(() => fleet.stop());

const run = (...argv: string[]) => fleet.run(...argv, "--control", fleet.url);

test("a hook is made, tried, given another secret and ended", async () => {
  const rules = await fleet.programs.write(
    "hook.json",
    JSON.stringify({
      site: "shop",
      rules: [{ when: { type: "changed" }, tags: ["post-{id}", "{list[*]}"] }],
    }),
  );
  const made = await run("hooks", "set", "cms", rules);
  expect([made.status, made.out]).toEqual([0, expect.stringMatching(/^whsec_\S{44}\n$/)]);
  const message = await fleet.programs.write("message.json", JSON.stringify({ type: "changed", id: 7 }));
  const tried = await run("hooks", "test", "cms", message);
  expect([tried.status, tried.out]).toEqual([
    0,
    "1 rules fit, 1 purges\nhard tag (1)\n    post-7\nleft out: {list[*]}: {list} is no list\n",
  ]);
  expect((await run("hooks", "rotate", "cms")).out).not.toBe(made.out);
  expect((await run("hooks", "set", "cms", rules)).out).toBe("");
  expect((await run("hooks", "list")).out).toMatch(/cms +shop +1 +standard proxima +-\n/);
  const broken = await fleet.programs.write("broken.json", "{");
  expect((await run("hooks", "test", "cms", broken)).status).toBe(2);
  expect((await run("hooks", "remove", "cms")).status).toBe(0);
  expect((await run("hooks", "remove", "cms")).status).toBe(1);
}, 30_000);

test("a webhook is made, tested and ended; loopback is no place for one", async () => {
  const made = await run(
    "webhooks",
    "create",
    "ci",
    "http://127.0.0.1:9/?key=hidden",
    "--event",
    "purge.applied",
  );
  expect([made.status, made.out]).toEqual([0, expect.stringMatching(/^whsec_/)]);
  const [, id = ""] = /(wh_\w+) +ci +127\.0\.0\.1:9 +all/.exec((await run("webhooks", "list")).out) ?? [];
  expect((await run("webhooks", "test", id)).out).toMatch(/^msg_\w+ is waiting\n$/);
  let listed = "";
  await until("it was tried", async () => {
    listed = (await run("webhooks", "deliveries", id)).out;
    return / waiting +1 /.test(listed);
  });
  expect(listed).toContain("127.0.0.1 has no address that this node may connect to");
  expect(listed).not.toContain("connect to: ");
  expect(listed).not.toContain("hidden");
  const [, delivery = ""] = /(msg_\w+)/.exec(listed) ?? [];
  expect((await run("webhooks", "retry", id, delivery)).status).toBe(0);
  expect((await run("webhooks", "remove", id)).status).toBe(0);
}, 30_000);

/** Who may give which host to a site. */
import { Database } from "bun:sqlite";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { siteConfig, startTestControl, type TestControl } from "../../kit/control.ts";

let control: TestControl;
beforeAll(async () => {
  control = await startTestControl();
  for (const id of ["shop", "blog"])
    await control.ask("POST", "/v1/apply", { sites: { [id]: siteConfig(`${id}.test`) } });
});
afterAll(() => control.stop());

const apply = (token: string, id: string, ...hosts: string[]) =>
  control.ask("POST", "/v1/apply", { sites: { [id]: { ...siteConfig("x"), hosts } } }, { token });

describe("a token for some sites", () => {
  test.each([
    ["every host there is", "*"],
    ["a host that nobody has", "free.test"],
    ["a name that takes more than it may", "*.test"],
    ["a name that only ends like one it may", "evilshop.test"],
  ])("can not claim %s", async (_what, host) => {
    const token = await control.token(["deploy"], ["shop"], ["shop.test", "*.shop.test"]);
    for (const way of ["/v1/plan", "/v1/apply"]) {
      const answer = await control.ask(
        "POST",
        way,
        { sites: { shop: { ...siteConfig("x"), hosts: ["shop.test", host] } } },
        { token },
      );
      expect([way, answer.status, answer.value.detail]).toEqual([
        way,
        403,
        expect.stringContaining(
          `may not claim host "${host}" for site "shop": it may claim shop.test, *.shop.test`,
        ),
      ]);
    }
    // Nor in two steps, nor in stages.
    const made = await control.ask(
      "POST",
      "/v1/sites/shop/versions",
      { config: siteConfig(host) },
      { token },
    );
    const { number } = made.value.version;
    for (const rollout of [undefined, {}]) {
      const answer = await control.ask(
        "POST",
        "/v1/sites/shop/activate",
        { version: number, rollout },
        { token },
      );
      expect(answer.status).toBe(403);
    }
    expect((await control.refusals())[0]).toMatchObject({
      action: "site.activate",
      detail: expect.stringContaining(`may not claim host "${host}"`),
    });
  });

  test("claims what it names, and keeps what its site has", async () => {
    const token = await control.token(["deploy"], ["shop"], ["*.shop.test"]);
    expect((await apply(token, "shop", "shop.test", "www.shop.test", "*.eu.shop.test")).status).toBe(200);
  });

  test("that names none, as those of before, keeps what its site has and gets no more", async () => {
    const token = await control.token(["deploy", "admin"], ["blog"]);
    expect((await apply(token, "blog", "blog.test")).status).toBe(200);
    const answer = await apply(token, "blog", "blog.test", "more.test");
    expect([answer.status, answer.value.detail]).toEqual([
      403,
      expect.stringContaining("it may claim none but what the site has"),
    ]);
    // Back to a version that was active before is no new claim.
    await control.ask("POST", "/v1/apply", { sites: { blog: siteConfig("other.test") } });
    expect((await control.ask("POST", "/v1/sites/blog/rollback", {}, { token })).value.site.hosts).toEqual([
      "blog.test",
    ]);
  });
});

test("a token for all sites claims any name but the one for all, which needs admin", async () => {
  const token = await control.token(["deploy"]);
  expect((await apply(token, "new", "new.test")).status).toBe(200);
  expect((await apply(token, "all", "*")).status).toBe(403);
  expect((await apply(control.admin, "all", "*")).status).toBe(200);
  const rotated = await control.ask(
    "POST",
    `/v1/tokens/${(await control.token(["deploy"], ["shop"], ["a.test"])).split("_")[1]}/rotate`,
    {},
  );
  expect(rotated.value.token.hosts).toEqual(["a.test"]);
});

test("a database of the layout before is brought to this one, with what it holds", async () => {
  const old = await control.token(["deploy"], ["blog"]);
  await control.restart((dataDir) => {
    const database = new Database(join(dataDir, "control.db"));
    for (const table of [
      "rollouts",
      "rollout_counts",
      "rollout_events",
      "origins_out",
      "hooks",
      "hook_messages",
      "webhooks",
      "deliveries",
      "batches",
      "zones",
      "zone_blobs",
      "zone_files",
      "zone_releases",
      "zone_release_files",
      "zone_uploads",
      "zone_parts",
    ])
      database.run(`DROP TABLE ${table}`);
    for (const column of [
      "snapshots.staged",
      "tokens.hosts",
      "tokens.sealed",
      "nodes.lost_ms",
      "purges.applied_ms",
    ])
      database.run(`ALTER TABLE ${column.split(".")[0]} DROP COLUMN ${column.split(".")[1]}`);
    database.run("PRAGMA user_version = 1");
    database.close();
  });
  expect((await control.ask("GET", "/v1/rollouts")).value.items).toEqual([]);
  expect((await control.ask("GET", "/v1/sites/shop")).status).toBe(200);
  expect((await apply(old, "blog", "stolen.test")).status).toBe(403);
});

/** Hooks of content systems: signed messages become purges, once. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createHmac } from "node:crypto";
import { readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { siteConfig, startTestControl, type TestControl } from "../../kit/control.ts";

let control: TestControl;
let secret: string;
const RULES = [
  {
    when: { type: ["post.published", "post.deleted"] },
    urls: ["https://shop.test/posts/{post.slug}"],
    prefixes: ["shop.test/feeds/{+post.path}/"],
    tags: ["post-{post.id}", "tag-{post.tags[*].name}"],
  },
  { when: { type: "theme.changed" }, everything: true, mode: "soft" },
];
const MESSAGE = {
  type: "post.published",
  post: { id: 7, slug: "a b/../ü", path: "news/eu", tags: [{ name: "x" }, { name: "y" }, { name: "" }] },
};
beforeAll(async () => {
  control = await startTestControl();
  for (const id of ["shop", "blog"])
    await control.ask("POST", "/v1/apply", { sites: { [id]: siteConfig(`${id}.test`) } });
  const made = await control.ask("PUT", "/v1/hooks/cms", { site: "shop", rules: RULES });
  expect([made.status, made.value.secret]).toEqual([201, expect.stringMatching(/^whsec_/)]);
  secret = made.value.secret;
});
afterAll(() => control.stop());

const seconds = () => Math.floor(control.clock.now() / 1_000);
function standard(body: string, id: string, { key = secret, at = seconds() } = {}) {
  const mac = createHmac("sha256", Buffer.from(key.slice(6), "base64")).update(`${id}.${at}.${body}`);
  return {
    "webhook-id": id,
    "webhook-timestamp": String(at),
    "webhook-signature": `v1,AAAA v1,${mac.digest("base64")}`,
  };
}
const send = (headers: Record<string, string>, body = JSON.stringify(MESSAGE), path = "/v1/hooks/cms") =>
  control.ask("POST", path, undefined, { token: null, headers, raw: body });
const purges = async () => (await control.ask("GET", "/v1/purges")).value.items;

describe("a message to a hook", () => {
  test("becomes purges, and sent again it purges nothing and has the same answer", async () => {
    const body = JSON.stringify(MESSAGE);
    const first = await send(standard(body, "m1"));
    expect([first.status, first.value]).toMatchObject([200, { matched: 1, repeated: false }]);
    expect(first.value.purges).toEqual([
      {
        site: "shop",
        scope: "prefix",
        mode: "hard",
        targets: ["shop.test/feeds/news/eu/"],
        targetCount: 1,
      },
      { site: "shop", scope: "tag", mode: "hard", targets: ["post-7", "tag-x", "tag-y"], targetCount: 3 },
    ]);
    // A slug with dot segments would lead elsewhere; an empty name would be every tag's beginning.
    expect(first.value.skipped).toEqual([
      "https://shop.test/posts/{post.slug}: {post.slug} has what can not stand there",
      "tag-{post.tags[*].name}: {post.tags[*].name} is missing or empty",
    ]);
    const made = await purges();
    expect(made).toHaveLength(2);
    expect(made[0]).toMatchObject({ site: "shop", by: "hook:cms" });
    const again = await send(standard(body, "m1"));
    expect(again.value).toMatchObject({ repeated: true, ids: first.value.ids });
    await control.restart();
    expect((await send(standard(body, "m1"))).value).toMatchObject({ repeated: true, ids: first.value.ids });
    expect(await purges()).toHaveLength(2);
    const [entry] = (await control.ask("GET", "/v1/audit?limit=1")).value.items;
    expect(entry).toMatchObject({ actor: "hook:cms", action: "hook.message", target: "shop" });
  });

  test("is taken with each kind of signature that the hook takes, and no other", async () => {
    const body = JSON.stringify({ type: "theme.changed" });
    const at = String(seconds());
    const mac = createHmac("sha256", Buffer.from(secret.slice(6), "base64")).update(`${at}.${body}`);
    const own = { "proxima-timestamp": at, "proxima-signature": `v1=${mac.digest("hex")}` };
    expect((await send(own, body)).value).toMatchObject({
      repeated: false,
      purges: [{ scope: "everything", mode: "soft" }],
    });
    expect((await send(own, body)).value.repeated).toBe(true);
    const hub = (delivery: string) => ({
      "x-hub-signature-256": `sha256=${createHmac("sha256", secret).update(body).digest("hex")}`,
      "x-github-delivery": delivery,
    });
    expect((await send(hub("d1"), body)).status).toBe(401);
    const changed = await control.ask("PUT", "/v1/hooks/cms", {
      site: "shop",
      rules: RULES,
      signatures: ["standard", "proxima", "hub"],
    });
    expect([changed.status, changed.value.secret]).toEqual([200, null]);
    expect((await send(hub("d1"), body)).value.repeated).toBe(false);
    expect((await send(hub("d1"), body)).value.repeated).toBe(true);
    expect((await send(hub("d2"), body)).value.repeated).toBe(false);
  });

  test.each([
    ["without a signature", () => ({})],
    [
      "signed with another secret",
      (body: string) => standard(body, "x", { key: `whsec_${"A".repeat(43)}=` }),
    ],
    ["signed for another body", () => standard("{}", "x")],
    ["from the past", (body: string) => standard(body, "x", { at: seconds() - 301 })],
    ["from the future", (body: string) => standard(body, "x", { at: seconds() + 301 })],
    [
      "with another time than was signed",
      (body: string) => ({ ...standard(body, "x"), "webhook-timestamp": String(seconds() - 1) }),
    ],
    ["with another id than was signed", (body: string) => ({ ...standard(body, "x"), "webhook-id": "y" })],
    [
      "with a broken signature",
      () => ({ "webhook-id": "x", "webhook-timestamp": String(seconds()), "webhook-signature": "v1," }),
    ],
  ])("%s is refused, and purges nothing", async (_name, sign) => {
    const before = (await purges()).length;
    const body = JSON.stringify(MESSAGE);
    const answer = await send(sign(body) as Record<string, string>, body);
    expect([answer.status, (await purges()).length]).toEqual([401, before]);
    expect((await control.refusals())[0]).toMatchObject({
      action: "hook.message",
      detail: expect.stringContaining("(hook cms: "),
    });
    // The same words for a hook that is not there.
    const absent = await send(standard(body, "x"), body, "/v1/hooks/absent");
    expect([absent.status, absent.value.detail]).toEqual([401, answer.value.detail]);
    control.clock.advance(120_000);
  });

  test("can be tried, signed or by who may purge the site", async () => {
    const before = (await purges()).length;
    const body = JSON.stringify(MESSAGE);
    const dry = await send(standard(body, "dry"), body, "/v1/hooks/cms?dryRun=1");
    expect(dry.value).toMatchObject({ dryRun: true, ids: [], matched: 1 });
    const token = await control.token(["purge"], ["shop"]);
    const tried = await control.ask("POST", "/v1/hooks/cms/test", MESSAGE, { token });
    expect(tried.value).toEqual(dry.value);
    expect((await purges()).length).toBe(before);
    const foreign = await control.token(["purge"], ["blog"]);
    expect((await control.ask("POST", "/v1/hooks/cms/test", MESSAGE, { token: foreign })).status).toBe(403);
  });

  test("has its secret changed without a gap, sealed on the disk", async () => {
    const rotated = await control.ask("POST", "/v1/hooks/cms/rotate", { overlapSeconds: 60 });
    const body = JSON.stringify(MESSAGE);
    const fresh = rotated.value.secret;
    expect((await send(standard(body, "r1"), body)).status).toBe(200);
    expect((await send(standard(body, "r2", { key: fresh }), body)).status).toBe(200);
    control.clock.advance(61_000);
    expect((await send(standard(body, "r3"), body)).status).toBe(401);
    secret = fresh;
    expect((await send(standard(body, "r4"), body)).status).toBe(200);
    expect(statSync(join(control.dataDir, "seal.key")).mode & 0o777).toBe(0o600);
    await control.restart((dataDir) => {
      const bytes = readFileSync(join(dataDir, "control.db"));
      for (const part of [fresh, fresh.slice(6), fresh.slice(6, 40)])
        expect(bytes.includes(part)).toBe(false);
      expect(bytes.includes(Buffer.from(fresh.slice(6), "base64"))).toBe(false);
      // Another key: nothing opens, and that is said.
      rmSync(join(dataDir, "seal.key"));
    });
    const answer = await send(standard(body, "r5"), body);
    expect([answer.status, answer.value.detail]).toEqual([503, expect.stringContaining("rotate it")]);
    secret = (await control.ask("POST", "/v1/hooks/cms/rotate", {})).value.secret;
    expect((await send(standard(body, "r6"), body)).status).toBe(200);
  });

  test("may not come too often", async () => {
    const body = JSON.stringify({ type: "nothing" });
    control.clock.advance(60_000);
    const answers: number[] = [];
    for (let i = 0; i < 210; i++) answers.push((await send(standard(body, `often-${i}`), body)).status);
    expect([answers.filter((status) => status === 200).length, answers.at(-1)]).toEqual([200, 429]);
  });
});

describe("a hook", () => {
  test.each([
    [{ rules: [{}] }, "purges nothing"],
    [{ rules: [{ urls: ["https://{host}/x"] }] }, "must begin with http(s)://, a host and a slash"],
    [{ rules: [{ urls: ["https://shop.test{+path}"] }] }, "must begin with"],
    [{ rules: [{ prefixes: ["{a}/x"] }] }, "must begin with a slash"],
    [{ rules: [{ tags: ["{a b}"] }] }, 'has the path "a b"'],
    [{ rules: [{ tags: ["{a"] }] }, "has a brace"],
    [{ rules: [{ tags: ["{a}{b}{c}{d}{e}{f}"] }] }, "at most 5"],
    [{ rules: [{ when: { "a..b": 1 }, everything: true }] }, "names what is no path"],
    [{ rules: [] }, "rules"],
    [{ rules: [{ everything: true }], site: "nothing" }, "no site"],
    [{ rules: [{ everything: true }], signatures: ["none"] }, "signatures"],
  ])("with %p is refused", async (config, detail) => {
    const answer = await control.ask("PUT", "/v1/hooks/wrong", { site: "shop", ...config });
    expect(answer.value.detail).toContain(detail);
    expect(answer.status).toBeGreaterThanOrEqual(400);
  });

  test("is of who has a say over its site", async () => {
    const token = await control.token(["deploy"], ["blog"]);
    for (const [method, path, body] of [
      ["GET", "/v1/hooks/cms", undefined],
      ["PUT", "/v1/hooks/cms", { site: "blog", rules: RULES }],
      ["PUT", "/v1/hooks/other", { site: "shop", rules: RULES }],
      ["DELETE", "/v1/hooks/cms", undefined],
      ["POST", "/v1/hooks/cms/rotate", {}],
    ] as const)
      expect([method, path, (await control.ask(method, path, body, { token })).status]).toEqual([
        method,
        path,
        403,
      ]);
    expect((await control.ask("GET", "/v1/hooks", undefined, { token })).value.items).toEqual([]);
    expect((await control.ask("DELETE", "/v1/hooks/cms")).status).toBe(204);
    expect((await control.ask("GET", "/v1/hooks/cms")).status).toBe(404);
  });
});

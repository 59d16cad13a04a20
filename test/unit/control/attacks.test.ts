/** The control plane attacked as an outsider would: each refused with a clear error and an entry in the audit log. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { connect } from "node:net";
import fc from "fast-check";
import { siteConfig, startTestControl, type TestControl } from "../../kit/control.ts";
import { ReportingNode } from "../../kit/reporting-node.ts";

let control: TestControl;
beforeAll(async () => {
  control = await startTestControl();
  for (const id of ["shop", "blog"])
    await control.ask("POST", "/v1/apply", { sites: { [id]: siteConfig(`${id}.test`) } });
});
afterAll(() => control.stop());

/** The newest refusal; buckets of the address are full again after it. */
async function lastRefusal() {
  const [last] = await control.refusals();
  control.clock.advance(120_000);
  return last;
}

describe("a request is refused and audited", () => {
  test.each([
    ["without a token", null, "send Authorization: Bearer and a token", "no token"],
    ["with something that is no token", "hello", "not known", "a token that is none"],
    [
      "with a token that nobody made",
      `pxa_${"0".repeat(12)}_${"a".repeat(43)}`,
      "not known",
      "the unknown token pxa_000000000000",
    ],
  ])("%s", async (_name, token, detail, audited) => {
    const answer = await control.ask("GET", "/v1/sites", undefined, { token });
    expect(answer.status).toBe(401);
    expect(answer.headers.get("content-type")).toBe("application/problem+json");
    expect(answer.headers.get("www-authenticate")).toContain("Bearer");
    expect(answer.value.detail).toContain(detail);
    expect(await lastRefusal()).toMatchObject({
      actor: "nobody",
      address: "127.0.0.1",
      action: "GET /v1/sites",
      detail: expect.stringContaining(audited),
    });
  });

  test("with the right id and a wrong secret", async () => {
    const [kind, id] = control.admin.split("_");
    const answer = await control.ask("GET", "/v1/sites", undefined, {
      token: `${kind}_${id}_${"x".repeat(43)}`,
    });
    expect(answer.status).toBe(401);
    expect((await lastRefusal())?.detail).toContain(`token pxa_${id} with a wrong secret`);
  });

  test("with a token that has expired, or was revoked", async () => {
    const made = await control.ask("POST", "/v1/tokens", {
      name: "short",
      scopes: ["read"],
      expiresInSeconds: 60,
    });
    expect((await control.ask("GET", "/v1/sites", undefined, { token: made.value.secret })).status).toBe(200);
    control.clock.advance(60_000);
    expect((await control.ask("GET", "/v1/sites", undefined, { token: made.value.secret })).status).toBe(401);
    expect((await lastRefusal())?.detail).toContain("expired token");
    const other = await control.token(["read"]);
    const id = other.split("_")[1];
    expect((await control.ask("DELETE", `/v1/tokens/${id}`)).status).toBe(200);
    expect((await control.ask("GET", "/v1/sites", undefined, { token: other })).status).toBe(401);
    expect((await lastRefusal())?.detail).toContain("revoked token");
  });

  test.each([
    [["read"], "POST", "/v1/purges", { scope: "everything", site: "shop" }, "scope purge"],
    [["read"], "POST", "/v1/apply", { sites: {} }, "scope deploy"],
    [["purge"], "GET", "/v1/sites", undefined, "scope read"],
    [["purge"], "GET", "/v1/sites/shop/versions/1", undefined, "scope read"],
    [["deploy"], "POST", "/v1/tokens", { name: "x", scopes: ["admin"] }, "scope admin"],
    [["deploy", "purge", "read"], "GET", "/v1/audit", undefined, "scope admin"],
    [["deploy"], "POST", "/v1/join-tokens", {}, "scope admin"],
    [["admin"], "POST", "/v1/nodes/self/report", {}, "for nodes"],
  ])("for a token with the scopes %p: %s %s", async (scopes, method, path, body, detail) => {
    const token = await control.token(scopes);
    const answer = await control.ask(method, path, body, { token });
    expect(answer.status).toBe(403);
    expect(answer.value.detail).toContain(detail);
    expect(await lastRefusal()).toMatchObject({
      actor: `token:${token.split("_")[1]}`,
      detail: expect.stringContaining(detail),
    });
  });

  test.each([
    ["GET", "/v1/sites/blog", undefined],
    ["GET", "/v1/sites/nothing", undefined],
    ["PUT", "/v1/sites/blog/draft", siteConfig("evil.test")],
    ["POST", "/v1/sites/blog/activate", { version: 1 }],
    ["DELETE", "/v1/sites/blog", undefined],
    ["POST", "/v1/purges", { scope: "everything", site: "blog" }],
    ["POST", "/v1/purges", { scope: "everything", site: "nothing" }],
    ["POST", "/v1/apply", { sites: { blog: siteConfig("blog.test") } }],
    ["POST", "/v1/apply", { sites: {}, prune: true }],
    ["POST", "/v1/plan", { sites: { blog: siteConfig("x.test") } }],
    ["GET", "/v1/snapshots/1", undefined],
    ["GET", "/v1/nodes", undefined],
    ["GET", "/v1/audit", undefined],
    ["GET", "/v1/tokens", undefined],
  ])("for a token of another site: %s %s", async (method, path, body) => {
    const token = await control.token(["admin"], ["shop"]);
    const answer = await control.ask(method, path, body, { token });
    expect([path, answer.status]).toEqual([path, 403]);
    expect((await lastRefusal())?.detail).toStartWith("403: ");
  });

  test("a token of one site sees that site alone, and purges it without naming it", async () => {
    const token = await control.token(["read", "purge"], ["shop"]);
    const sites = await control.ask("GET", "/v1/sites", undefined, { token });
    expect(sites.value.items.map((site: { id: string }) => site.id)).toEqual(["shop"]);
    const purge = await control.ask("POST", "/v1/purges", { scope: "tag", tags: ["a"] }, { token });
    expect(purge.value.site).toBe("shop");
    const all = await control.ask("POST", "/v1/purges", { scope: "tag", tags: ["a"], site: "blog" });
    expect(all.status).toBe(201);
    const list = await control.ask("GET", "/v1/purges", undefined, { token });
    expect(new Set(list.value.items.map((one: { site: string }) => one.site))).toEqual(new Set(["shop"]));
    expect((await control.ask("GET", `/v1/purges/${all.value.id}`, undefined, { token })).status).toBe(403);
  });

  test.each([
    ["a page of another origin", { origin: "https://evil.test" }, 403],
    ["a page of another site", { "sec-fetch-site": "cross-site" }, 403],
    ["a form", { "content-type": "text/plain" }, 415],
    ["a form of a file", { "content-type": "multipart/form-data; boundary=x" }, 415],
  ])("from %s, though the token is right", async (_name, headers, status) => {
    const answer = await control.ask(
      "POST",
      "/v1/purges",
      { scope: "everything", site: "shop" },
      { headers },
    );
    expect(answer.status).toBe(status);
    expect(await lastRefusal()).toMatchObject({
      action: "POST /v1/purges",
      detail: expect.stringContaining(String(status)),
    });
  });

  test("that names another host (DNS rebinding)", async () => {
    const port = Number(control.url.split(":").at(-1));
    const text = await new Promise<string>((resolve, reject) => {
      const socket = connect(port, "127.0.0.1");
      let got = "";
      socket.on("data", (data) => {
        got += data;
      });
      socket.on("error", reject);
      socket.on("close", () => resolve(got));
      socket.write(
        `GET /v1/sites HTTP/1.1\r\nhost: evil.test:${port}\r\nauthorization: Bearer ${control.admin}\r\nconnection: close\r\n\r\n`,
      );
    });
    expect(text).toStartWith("HTTP/1.1 421");
    expect((await lastRefusal())?.detail).toContain("421");
  });

  test.each([
    ["is longer than its route takes", "x".repeat(1024 * 1024 + 1), 413, "1048576 bytes at most"],
    ["is no JSON", "{", 400, "not JSON: line 1"],
    ["is empty", "", 400, "not JSON"],
    ["has a name twice", '{"id":"a","id":"b"}', 400, "not JSON"],
    ["nests without end", `${"[".repeat(5_000)}${"]".repeat(5_000)}`, 400, "not JSON"],
    ["is not UTF-8", new Uint8Array([0x22, 0xff, 0x22]), 400, "not UTF-8"],
    ["has a member that there is not", '{"id":"abc","force":true}', 400, "force"],
    ["has a site id that is none", '{"id":"../etc"}', 400, "id"],
    ["names a site of Object's", '{"id":"constructor","config":{"__proto__":{"hosts":["x"]}}}', 201, ""],
  ])("with a body that %s", async (_name, raw, status, detail) => {
    const answer = await control.ask("POST", "/v1/sites", undefined, { raw });
    expect([answer.status, answer.text]).toEqual([status, expect.stringContaining(detail)]);
    if (status !== 201) expect((await lastRefusal())?.action).toBe("site.create");
  });

  test("a join token that was used, has expired, or is another kind of token", async () => {
    const join = (token: string | null, name = "edge-1") =>
      control.ask("POST", "/v1/join", { name, version: "1" }, { token });
    const invite = async () =>
      (await control.ask("POST", "/v1/join-tokens", { validSeconds: 60 })).value.secret;
    const used = await invite();
    expect((await join(used)).status).toBe(201);
    const replayed = await join(used, "edge-2");
    expect([replayed.status, replayed.value.detail]).toEqual([401, expect.stringContaining("used already")]);
    expect(await lastRefusal()).toMatchObject({
      action: "node.join",
      detail: expect.stringContaining("used already"),
    });
    const late = await invite();
    control.clock.advance(60_000);
    expect((await join(late, "edge-2")).value.detail).toContain("expired");
    for (const token of [null, control.admin, "pxj_nonsense"]) {
      expect((await join(token, "edge-2")).status).toBe(401);
      expect((await lastRefusal())?.action).toBe("node.join");
    }
    const taken = await join(await invite());
    expect([taken.status, taken.value.detail]).toEqual([409, expect.stringContaining('"edge-1" already')]);
  });

  test("a node's credential is good for a node's business alone, and for nothing once it was removed", async () => {
    const invite = (await control.ask("POST", "/v1/join-tokens", {})).value.secret;
    const { credential } = (
      await control.ask("POST", "/v1/join", { name: "edge-9", version: "1" }, { token: invite })
    ).value;
    expect((await control.ask("GET", "/v1/changes/head", undefined, { token: credential })).status).toBe(200);
    for (const [method, path, body] of [
      ["GET", "/v1/sites", undefined],
      ["GET", "/v1/audit", undefined],
      ["POST", "/v1/purges", { scope: "everything", site: "shop" }],
      ["DELETE", "/v1/nodes/edge-1", undefined],
    ] as const) {
      expect((await control.ask(method, path, body, { token: credential })).status).toBe(403);
    }
    expect((await control.ask("DELETE", "/v1/nodes/edge-9")).status).toBe(200);
    const after = await control.ask("GET", "/v1/changes/head", undefined, { token: credential });
    expect([after.status, after.value.detail]).toEqual([401, "this node was removed from the fleet"]);
  });
});

test("a node that is beyond the end of the log, on another branch of it, proves no purge", async () => {
  const node = await ReportingNode.join(control, "elsewhere");
  const { value } = await control.ask("POST", "/v1/purges", { scope: "tag", site: "shop", tags: ["a"] });
  const stateNow = async () => (await control.ask("GET", `/v1/purges/${value.id}`)).value.nodes;
  const mine = async () =>
    (await stateNow()).find((one: { name: string }) => one.name === "elsewhere")?.state;
  node.applied = value.sequence + 1_000_000;
  await node.report();
  expect(await mine()).toBe("accepted");
  node.applied = null;
  await node.report();
  expect(await mine()).toBe("applied");
});

test("who guesses tokens has to wait, and the log counts what it does not list", async () => {
  control.clock.advance(120_000);
  const statuses: number[] = [];
  for (let i = 0; i < 30; i++)
    statuses.push((await control.ask("GET", "/v1/sites", undefined, { token: `guess-${i}` })).status);
  expect(statuses.slice(0, 20).every((status) => status === 401)).toBe(true);
  expect(statuses.at(-1)).toBe(429);
  expect((await control.ask("GET", "/v1/sites")).status).toBe(200);
  control.clock.advance(60_000);
  const listed = (await control.refusals()).filter(({ detail }) =>
    detail.includes("more refusals in a minute"),
  );
  expect(listed.map(({ detail }) => detail)).toEqual(["10 more refusals in a minute"]);
});

test("a token that asks too often is told how long to wait", async () => {
  const token = await control.token(["read"]);
  let answer = await control.ask("GET", "/v1/sites", undefined, { token });
  for (let i = 0; i < 600 && answer.status === 200; i++)
    answer = await control.ask("GET", "/v1/sites", undefined, { token });
  expect([answer.status, answer.headers.get("retry-after")]).toEqual([429, "1"]);
  expect((await control.ask("GET", "/v1/sites")).status).toBe(200);
  control.clock.advance(1_000);
  expect((await control.ask("GET", "/v1/sites", undefined, { token })).status).toBe(200);
});

test("the audit log can not be changed, not even with the database in hand", async () => {
  const { Database } = await import("bun:sqlite");
  const db = new Database(`${control.dataDir}/control.db`);
  expect(() => db.run("DELETE FROM audit")).toThrow("only appended to");
  expect(() => db.run("UPDATE audit SET actor = 'somebody'")).toThrow("only appended to");
  expect(() => db.run("UPDATE versions SET config = '{}'")).toThrow("does not change");
  db.close();
});

test("no secret stands in the database or in the log", async () => {
  const secrets = [
    control.admin,
    await control.token(["read"]),
    (await control.ask("POST", "/v1/join-tokens", {})).value.secret,
  ];
  const { Database } = await import("bun:sqlite");
  const db = new Database(`${control.dataDir}/control.db`, { readonly: true });
  const text = db
    .query<{ name: string }, []>("SELECT name FROM sqlite_master WHERE type = 'table'")
    .all()
    .map(({ name }) => JSON.stringify(db.query(`SELECT * FROM "${name}"`).all()))
    .join("\n");
  db.close();
  for (const secret of secrets)
    expect(text + control.messages.join("\n")).not.toContain(secret.split("_").slice(2).join("_"));
});

test("no body whatever makes the control plane fail", async () => {
  const paths = [
    "/v1/sites",
    "/v1/plan",
    "/v1/apply",
    "/v1/purges",
    "/v1/tokens",
    "/v1/sites/shop/versions",
    "/v1/sites/shop/activate",
    "/v1/join-tokens",
    "/v1/join",
  ];
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...paths),
      fc.oneof(
        fc.json(),
        fc.jsonValue().map((value) =>
          JSON.stringify({
            sites: { shop: value },
            scope: "tag",
            tags: value,
            config: value,
            id: "fuzz",
            version: value,
          }),
        ),
      ),
      async (path, raw) => {
        const { status } = await control.ask("POST", path, undefined, { raw });
        control.clock.advance(1_000);
        expect(status).toBeLessThan(500);
      },
    ),
    { numRuns: 300 },
  );
  expect(control.messages).toEqual([]);
});

import { afterEach, describe, expect, test } from "bun:test";
import { ManualClock } from "../../../../src/base/clock.ts";
import { Fields } from "../../../../src/http/fields.ts";
import type { BucketOrigin } from "../../../../src/upstream/bucket/bucket-origin.ts";
import { AZURE_ACCOUNT, AZURE_KEY, type AzureSetup, makeSas, startAzure } from "../../../kit/azure-server.ts";
import { bucketHop } from "../../../kit/bucket-hop.ts";
import { storedObject } from "../../../kit/store-server.ts";
import { failureOf, readText, TIMEOUTS, upstreamRequest } from "../../../kit/upstream-request.ts";

const stops: (() => void)[] = [];
afterEach(() => {
  for (const stop of stops.splice(0)) stop();
});

const BY_KEY = { credentials: { accountKey: { env: "KEY" } } };
const BY_SAS = { credentials: { sas: { env: "SAS" } } };

async function stage(
  objects: Record<string, string> = {},
  options: { azure?: object; origin?: object; setup?: Partial<AzureSetup>; key?: string } = {},
) {
  const clock = new ManualClock(Date.UTC(2026, 2, 4, 5, 6, 7));
  const server = startAzure({ nowMs: () => clock.now(), ...options.setup });
  for (const [key, body] of Object.entries(objects)) server.setup.objects.set(key, storedObject(body));
  const { container, basePath } = server.setup;
  const secrets = {
    KEY: options.key ?? AZURE_KEY,
    SAS: `?${makeSas(container, AZURE_KEY, clock.now() + 3600_000)}`,
  };
  const { hop, told } = await bucketHop(
    {
      azure: {
        account: AZURE_ACCOUNT,
        container,
        endpoint: `${server.url}${basePath}`,
        ...(options.azure ?? BY_KEY),
      },
      ...options.origin,
    },
    { clock, secrets },
  );
  stops.push(
    () => server.stop(),
    () => hop.close(),
  );
  return { clock, server, hop, told, secrets };
}

const ask = (hop: BucketOrigin, target: string, fields: Record<string, string> = {}, method = "GET") =>
  hop.fetch(upstreamRequest({ method, target, fields: Fields.from(Object.entries(fields)) }), TIMEOUTS);

const KEYS = ["a.txt", "dir/a b+c.txt", "é/☃", "q?x#y", "(1)!*'~", "a%2Fb", "100%", "=&;:@,$"];
const targetOf = (key: string) => `/${key.split("/").map(encodeURIComponent).join("/")}`;

describe("a blob is asked for so that the service believes who asks", () => {
  test.each(KEYS)("with the account's key: %s", async (key) => {
    const { hop } = await stage({ [key]: "x" });
    expect((await ask(hop, targetOf(key))).status).toBe(200);
  });

  test.each(KEYS)("with a shared access signature: %s", async (key) => {
    const { hop, server } = await stage({ [key]: "x" }, { azure: BY_SAS });
    expect((await ask(hop, `${targetOf(key)}?comp=list&restype=container`)).status).toBe(200);
    expect(server.seen[0]?.get("authorization")).toBeNull();
  });

  test("without either, where the container is public, and in a version whose entity tags have quotes", async () => {
    const { hop, server } = await stage(
      { a: "x" },
      { azure: { anonymous: true }, setup: { isPublic: true } },
    );
    expect((await ask(hop, "/a")).status).toBe(200);
    expect(server.seen[0]?.get("x-ms-version")).toBe("2021-12-02");
  });

  test("where the account stands in the path too, as in the emulator", async () => {
    const { hop, server } = await stage({ "a b": "x" }, { setup: { basePath: `/${AZURE_ACCOUNT}` } });
    expect((await ask(hop, "/a%20b")).status).toBe(200);
    expect(server.seen[0]?.target).toBe(`/${AZURE_ACCOUNT}/assets/a%20b`);
  });

  test("in the container of a website", async () => {
    const { hop } = await stage(
      { "index.html": "home" },
      { setup: { container: "$web" }, origin: { index: "index.html" } },
    );
    expect(await readText((await ask(hop, "/")).body)).toBe("home");
  });

  test("with conditions and a range, which are signed", async () => {
    const { hop, server } = await stage({ a: "0123456789" });
    const etag = server.setup.objects.get("a")?.fields.etag ?? "";
    const part = await ask(hop, "/a", { range: "bytes=2-3", "if-match": etag });
    expect([part.status, await readText(part.body)]).toEqual([206, "23"]);
    expect((await ask(hop, "/a", { "if-none-match": etag })).status).toBe(304);
    expect((await ask(hop, "/a", { "if-modified-since": "Sun, 01 Jun 2025 00:00:00 GMT" })).status).toBe(304);
    expect((await ask(hop, "/a", { "if-unmodified-since": "Sat, 31 May 2025 00:00:00 GMT" })).status).toBe(
      412,
    );
    expect((await ask(hop, "/a", { range: "bytes=99-" })).fields.get("content-range")).toBe("bytes */10");
    const other = await ask(hop, "/a", { range: "bytes=0-1", "if-range": '"old"' });
    expect([other.status, await readText(other.body)]).toEqual([200, "0123456789"]);
  });
});

test("a range of the last bytes, which the service does not know, is the whole", async () => {
  const { hop, server } = await stage({ a: "0123456789" });
  expect((await ask(hop, "/a", { range: "bytes=-3" })).status).toBe(200);
  expect(server.seen[0]?.get("range")).toBeNull();
});

test("no command of a viewer's query reaches the service", async () => {
  const { hop, server } = await stage({ a: "x" });
  for (const query of ["comp=list&restype=container", "comp=metadata", "snapshot=1", "versionid=1"]) {
    expect(await readText((await ask(hop, `/a?${query}`)).body)).toBe("x");
  }
  expect(new Set(server.seen.map(({ target }) => target))).toEqual(new Set(["/assets/a"]));
});

test("nothing of the service is shown, but metadata that the config names", async () => {
  const { hop, server } = await stage({}, { origin: { metadata: ["surrogate-key"] } });
  server.setup.objects.set(
    "a",
    storedObject("x", { "x-ms-meta-surrogate_key": "p1", "x-ms-meta-owner": "bob" }),
  );
  const { fields } = await ask(hop, "/a");
  expect(fields.get("surrogate-key")).toBe("p1");
  expect([...fields.entries()].filter(([name]) => name.startsWith("x-"))).toEqual([]);
});

describe("a refusal", () => {
  test("of a blob that is not there is a 404, of one that is not ours a 403", async () => {
    const { hop, server, told } = await stage();
    expect((await ask(hop, "/nope")).status).toBe(404);
    expect((await ask(hop, "/nope", {}, "HEAD")).status).toBe(404);
    server.setup.failing = { status: 403, code: "AuthorizationPermissionMismatch" };
    expect((await ask(hop, "/a")).status).toBe(403);
    expect(told[0]).toContain("AuthorizationPermissionMismatch");
  });

  test("of a key, a container or a clock is told, and no 403 or 404 for viewers", async () => {
    const wrong = await stage(
      { a: "x" },
      { key: Buffer.from("a key that is another one").toString("base64") },
    );
    expect((await failureOf(ask(wrong.hop, "/a"))).message).toMatch(
      /credentials were not taken \(AuthenticationFailed/,
    );
    const head = await failureOf(ask(wrong.hop, "/a", {}, "HEAD"));
    expect(head.message).toContain("AuthenticationFailed");

    // The emulator's word for it, and the service's own where a network rule keeps this node out.
    wrong.server.setup.failing = { status: 403, code: "AuthorizationFailure" };
    expect((await failureOf(ask(wrong.hop, "/a"))).message).toContain(
      "the credentials were not taken (AuthorizationFailure",
    );

    const gone = await stage();
    gone.server.setup.failing = { status: 404, code: "ContainerNotFound" };
    expect((await failureOf(ask(gone.hop, "/a"))).message).toMatch(
      /no such bucket, or it is closed \(ContainerNotFound/,
    );

    const skewed = await stage({ a: "x" });
    skewed.server.setup.nowMs = () => skewed.clock.now() + 1800_000;
    expect((await failureOf(ask(skewed.hop, "/a"))).message).toContain(
      "this node's clock is 30 minutes behind the store's",
    );
  });

  test("of a signature that is over has others tried, and never shows it", async () => {
    const { hop, server, told, clock, secrets } = await stage({ a: "x" }, { azure: BY_SAS });
    clock.advance(2 * 3600_000);
    const failure = await failureOf(ask(hop, "/a"));
    expect(failure.message).toContain("the credentials were not taken (AuthenticationFailed");
    const signature = new URLSearchParams(secrets.SAS).get("sig") ?? "none";
    for (const said of [failure.message, ...told]) {
      expect(said).not.toContain(signature);
      expect(said).not.toContain("sig=");
    }
    secrets.SAS = makeSas(server.setup.container, AZURE_KEY, clock.now() + 3600_000);
    clock.advance(10_000);
    expect((await ask(hop, "/a")).status).toBe(200);
  });
});

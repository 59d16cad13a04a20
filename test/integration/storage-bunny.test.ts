/** Push storage in Bunny's shape: through the vendor's own clients, unchanged, and by scripts with curl. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { makeAuthority } from "../kit/certificates.ts";
import { type AccessKey, startTestStorage, type TestStorage } from "../kit/storage.ts";
import { VendorClients } from "../kit/vendor-clients.ts";

const HOST = "storage.bunnycdn.com";
const folder = mkdtempSync(join(tmpdir(), "proxima-bunny-"));
let storage: TestStorage;
let key: AccessKey;
let clients: VendorClients;
let caFile: string;
beforeAll(async () => {
  const authority = await makeAuthority();
  caFile = join(folder, "ca.pem");
  writeFileSync(caFile, authority.pem);
  storage = await startTestStorage({ tls: await authority.issue([HOST, "127.0.0.1"]) });
  await storage.zone("web");
  key = await storage.key(["deploy"]);
  clients = VendorClients.takenOver(Number(storage.storage.split(":").at(-1)), [HOST], caFile);
});
afterAll(async () => {
  await clients.stop();
  await storage.stop();
  rmSync(folder, { recursive: true, force: true });
});

const ask = (method: string, path: string, headers: Record<string, string> = {}, body?: string) =>
  fetch(storage.storage + path, {
    method,
    headers: { accesskey: key.token, ...headers },
    tls: { rejectUnauthorized: false },
    ...(body === undefined ? {} : { body }),
  } as RequestInit);

describe("the vendor's client", () => {
  const call = (method: string, ...args: unknown[]) =>
    clients.value("bunnyFiles", { zone: "web", key: key.token, method, args });

  test("uploads, describes, lists, downloads and removes", async () => {
    const content = "let a = 1;";
    const sha256Checksum = createHash("sha256").update(content).digest("hex").toUpperCase();
    expect(await call("upload", "/js/app.js", content, { sha256Checksum })).toBe(true);
    expect(await call("upload", "/js/other.bin", "x", { contentType: "application/wasm" })).toBe(true);
    expect(await call("get", "/js/app.js")).toMatchObject({
      objectName: "app.js",
      path: "/web/js/",
      length: content.length,
      checksum: sha256Checksum,
      contentType: "text/javascript; charset=utf-8",
      isDirectory: false,
    });
    expect(await call("download", "/js/app.js")).toBe(content);
    const list = await call("list", "/js/");
    expect(
      list.map((one: { objectName: string; contentType: string }) => [one.objectName, one.contentType]),
    ).toEqual([
      ["app.js", "text/javascript; charset=utf-8"],
      ["other.bin", "application/wasm"],
    ]);
    expect(await call("createDirectory", "/empty")).toBe(true);
    const root = await call("list", "/");
    expect(
      root.map((one: { objectName: string; isDirectory: boolean }) => [one.objectName, one.isDirectory]),
    ).toEqual([
      ["empty", true],
      ["js", true],
    ]);
    expect(await call("remove", "/js/app.js")).toBe(true);
    expect(await call("removeDirectory", "/js/")).toBe(true);
    expect(await call("list", "/js/")).toEqual([]);
  });

  test("is told of a wrong checksum, a missing file and a wrong password", async () => {
    const bad = await clients.ask("bunnyFiles", {
      zone: "web",
      key: key.token,
      method: "upload",
      args: ["/bad.txt", "x", { sha256Checksum: "0".repeat(64) }],
    });
    expect(bad.error?.message).toContain("provided checksum invalid");
    const missing = await clients.ask("bunnyFiles", {
      zone: "web",
      key: key.token,
      method: "get",
      args: ["/bad.txt"],
    });
    expect(missing.error?.message).toBe("File not found: /bad.txt");
    const stranger = await clients.ask("bunnyFiles", {
      zone: "web",
      key: "wrong",
      method: "list",
      args: ["/"],
    });
    expect(stranger.error?.message).toContain("Unauthorized");
  });
});

test("the older client uploads, lists, downloads and deletes", async () => {
  const call = (method: string, ...args: unknown[]) =>
    clients.value("bunnyFilesOld", { zone: "web", key: key.token, method, args });
  expect(await call("upload", "<p>hi</p>", "old/index.html")).toMatchObject({
    status: 201,
    data: { HttpCode: 201, Message: "File uploaded." },
  });
  expect((await call("list", "old/")).data).toMatchObject([
    { ObjectName: "index.html", ContentType: "text/html; charset=utf-8" },
  ]);
  expect((await call("delete", "old/index.html")).status).toBe(200);
  expect((await call("list", "old/")).data).toEqual([]);
});

test("a script with curl uploads a folder, in the older shape of the path, too", async () => {
  writeFileSync(join(folder, "page.html"), "<h1>page</h1>");
  writeFileSync(join(folder, "big.bin"), new Uint8Array(3_000_000).fill(7));
  const script = `set -eu
for f in page.html big.bin; do
  curl -sS --fail --cacert ${caFile} --resolve ${HOST}:$PORT:127.0.0.1 -X PUT "https://${HOST}:$PORT/storage/v2/web/up/$f" -H "AccessKey: $KEY" -H "Content-Type: application/octet-stream" --data-binary @$f
  curl -sS --fail --cacert ${caFile} --resolve ${HOST}:$PORT:127.0.0.1 -T $f "https://${HOST}:$PORT/web//again/$f" -H "AccessKey: $KEY"
done`;
  const run = Bun.spawn(["bash", "-c", script], {
    cwd: folder,
    env: { PATH: process.env.PATH ?? "", KEY: key.token, PORT: storage.storage.split(":").at(-1) ?? "" },
    stdout: "pipe",
    stderr: "pipe",
  });
  expect([await run.exited, await new Response(run.stderr).text()]).toEqual([0, ""]);
  for (const place of ["up", "again"]) {
    const page = await ask("GET", `/web/${place}/page.html`);
    expect([page.headers.get("content-type"), await page.text()]).toEqual([
      "text/html; charset=utf-8",
      "<h1>page</h1>",
    ]);
    expect((await ask("HEAD", `/web/${place}/big.bin`)).headers.get("content-length")).toBe("3000000");
  }
});

describe("a request", () => {
  test("has a range and conditions", async () => {
    await ask("PUT", "/web/r.txt", {}, "0123456789");
    const part = await ask("GET", "/web/r.txt", { range: "bytes=3-5" });
    expect([part.status, await part.text(), part.headers.get("content-range")]).toEqual([
      206,
      "345",
      "bytes 3-5/10",
    ]);
    const etag = part.headers.get("etag") ?? "";
    expect((await ask("GET", "/web/r.txt", { "if-none-match": etag })).status).toBe(304);
    expect((await ask("GET", "/web/r.txt", { range: "bytes=20-" })).status).toBe(416);
  });

  test.each([
    ["/web/a//b", 400],
    ["/web/a%2fb", 400],
    ["/web/a%5cb", 400],
    ["/web/a%00b", 400],
    ["/web/%ff", 400],
    [`/web/${"x".repeat(1_100)}`, 400],
    ["/other/x", 404],
    ["/", 404],
    ["/..", 404],
  ])("for %s is answered %d", async (path, status) => {
    expect((await ask("PUT", path, {}, "x")).status).toBe(status);
  });

  test("that only reads may not write, and one for another zone may nothing", async () => {
    const reader = await storage.key(["read"]);
    expect((await ask("GET", "/web/r.txt", { accesskey: reader.token })).status).toBe(200);
    expect((await ask("PUT", "/web/r.txt", { accesskey: reader.token }, "x")).status).toBe(401);
    const shop = await storage.key(["deploy"], ["shop"]);
    expect((await ask("GET", "/web/r.txt", { accesskey: shop.token })).status).toBe(401);
  });

  test("that changes something is noted, one that reads is not", async () => {
    await ask("PUT", "/web/noted.txt", {}, "x");
    await ask("GET", "/web/noted.txt");
    await ask("DELETE", "/web/noted.txt");
    const { value } = await storage.ask("GET", "/v1/audit?limit=500");
    const noted = (value.items as { action: string; target: string; actor: string }[]).filter(
      ({ target }) => target === "web/noted.txt",
    );
    expect(noted.map(({ action }) => action)).toEqual(["storage.delete", "storage.put"]);
    expect(noted[0]?.actor).toBe(`token:${key.token.split("_")[1]}`);
  });

  test("of an unknown method is answered so", async () => {
    expect((await ask("POST", "/web/r.txt", {}, "x")).status).toBe(405);
  });
});

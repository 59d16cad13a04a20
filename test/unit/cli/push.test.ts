/** `proxima push` against a control plane whose answers are lost. */
import { afterAll, afterEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { endAll, runCli } from "./run-cli.ts";

const folder = mkdtempSync(join(tmpdir(), "proxima-push-"));
writeFileSync(join(folder, "a.txt"), "a");
const servers: Bun.Server<undefined>[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.stop(true);
});
afterAll(async () => {
  await endAll();
  rmSync(folder, { recursive: true, force: true });
});

test("a release whose answer was lost is asked for again by the same key, each push by its own", async () => {
  const keys: (string | null)[] = [];
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    async fetch(request) {
      await request.text();
      if (request.url.endsWith("/missing")) return Response.json({ missing: [] });
      keys.push(request.headers.get("idempotency-key"));
      if (keys.length === 1) return new Response("<html>some proxy", { status: 502 });
      return Response.json({
        release: { zone: "web", number: 1, files: 1 },
        changedCount: 1,
        removedCount: 0,
        changed: ["a.txt"],
        removed: [],
        purges: [],
      });
    },
  });
  servers.push(server);
  const push = () =>
    runCli(["push", folder, "--zone", "web", "--control", `http://127.0.0.1:${server.port}`], {
      env: { PROXIMA_CONTROL_TOKEN: "pxa_test" },
    });
  expect(await push()).toMatchObject({ status: 0, out: expect.stringContaining("1 changed") });
  expect(await push()).toMatchObject({ status: 0 });
  expect(keys).toHaveLength(3);
  expect(keys[0]).toMatch(/^[0-9a-f-]{36}$/);
  expect(keys[1]).toBe(keys[0] ?? null);
  expect(keys[2]).not.toBe(keys[0] ?? null);
});

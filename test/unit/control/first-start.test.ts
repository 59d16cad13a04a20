import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../../src/base/clock.ts";
import { startControlPlane } from "../../../src/control/control-plane.ts";

test("the first start that succeeds shows the first token, also after one that failed", async () => {
  const dataDir = mkdtempSync(join(tmpdir(), "proxima-first-start-"));
  const taken = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response() });
  const start = (port: number) =>
    startControlPlane({
      address: { hostname: "127.0.0.1", port },
      dataDir,
      tls: null,
      names: [],
      newAdminToken: false,
      sendWebhook: () => Promise.reject(new Error("the test sends none")),
      bus: null,
      version: "0.0.0-test",
      command: "test",
      clock: systemClock,
      log() {},
    });
  try {
    const refused = await start(taken.port ?? 0).then(
      () => "started",
      (error: unknown) => String(error),
    );
    expect(refused).toContain("already in use");
    const plane = await start(0);
    expect(plane.adminToken).toStartWith("pxa_");
    await plane.stop();
    const again = await start(0);
    expect(again.adminToken).toBeNull();
    await again.stop();
  } finally {
    await taken.stop(true);
    rmSync(dataDir, { recursive: true, force: true });
  }
});

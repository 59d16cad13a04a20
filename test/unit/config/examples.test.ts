import { expect, test } from "bun:test";
import { join } from "node:path";
import { loadConfig } from "../../../src/config/load.ts";

test("the example of a shop is a valid config without a warning", async () => {
  const loaded = await loadConfig(join(import.meta.dir, "../../../examples/shop/proxima.config.ts"));
  expect(loaded).toMatchObject({ ok: true, warnings: [] });
});

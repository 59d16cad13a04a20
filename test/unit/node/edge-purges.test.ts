import { expect, test } from "bun:test";
import type { EdgePurgeOrder } from "../../../src/edge/phases/purge.ts";
import { EdgePurges } from "../../../src/node/edge-purges.ts";

test("why a purge failed stands in the log, and not in the answer", async () => {
  const lines: string[] = [];
  const purges = new EdgePurges(null, null, (level, message) => {
    lines.push(`${level}: ${message}`);
  });
  purges.begin({ create: () => Promise.reject(new Error("database or disk is full")) });
  const order: EdgePurgeOrder = {
    site: "shop",
    scope: "everything",
    targets: [],
    mode: "hard",
    method: "PURGE",
    address: "127.0.0.1",
  };
  expect(await purges.take(order)).toEqual({
    ok: false,
    status: 500,
    message: "the node failed; its log says why",
  });
  expect(lines[0]).toBe("error: a purge failed: database or disk is full");
});

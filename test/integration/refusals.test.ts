/** What the listener for clear text refuses by itself is counted and logged like any other answer. */
import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startTestEdge, type TestEdge } from "../kit/edge.ts";
import { sendRaw } from "../kit/raw-send.ts";

let edge: TestEdge | null = null;
const folder = mkdtempSync(join(tmpdir(), "proxima-refusals-"));
afterAll(async () => {
  await edge?.stop();
  rmSync(folder, { recursive: true, force: true });
});

test("a refused request stands in the metrics and in the access log, with the reason and no word of it", async () => {
  const file = join(folder, "access.log");
  edge = await startTestEdge({ origin: "http://127.0.0.1:9", config: { accessLog: { file } } });
  const answer = await sendRaw({ port: edge.port }, "GET /secret HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
  expect(answer).toStartWith("HTTP/1.1 400 Bad Request\r\n");
  const { statuses, results } = await edge.edge.stats();
  expect([statuses["400"], results.bypass]).toEqual([1, 1]);
  await edge.stop();
  edge = null;
  const text = readFileSync(file, "utf8");
  const body = answer.slice(answer.indexOf("\r\n\r\n") + 4);
  expect(JSON.parse(text)).toMatchObject({
    client: "127.0.0.1",
    method: "-",
    path: "",
    status: 400,
    result: "bypass",
    reason: "bad-request",
    bytesSent: body.length,
    error: "it has more than one Host",
  });
  expect(text).not.toContain("secret");
});

/** What a process that serves has loaded: every object of it is in the way of each of its garbage collections. */
import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { askable, loadedBy } from "../kit/loaded.ts";
import { text } from "../kit/origin.ts";
import { childrenOf } from "../kit/processes.ts";
import type { Program } from "../kit/program.ts";
import { stage } from "../kit/stage.ts";

const { app, programs } = stage();

/** What is for others: the control plane, push storage, fleets, the schemas of configs and requests, certificates of one's own. */
const NEVER =
  /^(?:src\/(?:control|storage|client|testing|origin-kit|service\/bus|cli\/demo)\/|src\/(?:service\/fleet-wire|node\/fleet\/fleet|edge\/tls\/issuing|config\/(?:load|parse|issues|shape|values|checks|[\w-]*schema))\.ts|(?:yaml|nodemailer|@nats-io|@peculiar|tsyringe)\/)/;
/** An idle edge has 58,000 objects, a worker 31,000; with the schemas it would be 90,000, and 77,000. */
const EDGE_OBJECTS_MAX = 68_000;
const WORKER_OBJECTS_MAX = 45_000;

async function startEdge(
  workers: number,
): Promise<{ readonly program: Program; readonly folder: string; ask(): Promise<string> }> {
  const origin = app(() => text("hello", { "cache-control": "max-age=60" }));
  const started = programs();
  const { folder } = started;
  writeFileSync(
    join(folder, "edge.json"),
    JSON.stringify({
      listen: { http: "127.0.0.1:0", control: "127.0.0.1:0" },
      workers,
      cache: { memory: "64MiB" },
      sites: { shop: { hosts: ["*"], origins: { app: { url: origin.url } } } },
    }),
  );
  const program = started.start(["edge", "--config", "edge.json"], { env: askable(folder) });
  const { http } = await program.addresses();
  return { program, folder, ask: async () => (await fetch(`${http}/a`)).text() };
}

describe("an edge that serves", () => {
  test("has loaded nothing of what it does not use, and is small", async () => {
    const { program, folder, ask } = await startEdge(1);
    expect([await ask(), await ask()]).toEqual(["hello", "hello"]);
    const { modules, objects } = await loadedBy(program.pid, folder);
    expect(modules).toContain("src/edge/pipeline.ts");
    expect(modules.filter((path) => NEVER.test(path))).toEqual([]);
    expect(objects).toBeLessThan(EDGE_OBJECTS_MAX);
    // The process that read the config is gone.
    expect(childrenOf(program.pid)).toEqual([]);
  });

  test("has loaded what a purge needs, so that none can fail for want of a file", async () => {
    const { program, folder } = await startEdge(1);
    const { modules } = await loadedBy(program.pid, folder);
    expect(modules).toContain("src/cache/purge-request.ts");
  });

  test("has workers that have loaded neither that nor the command line, and a supervisor without a data plane", async () => {
    const { program, folder, ask } = await startEdge(2);
    expect(await ask()).toBe("hello");
    const workers = childrenOf(program.pid);
    expect(workers).toHaveLength(2);
    for (const pid of workers) {
      const { modules, objects } = await loadedBy(pid, folder);
      expect(modules).toContain("src/edge/pipeline.ts");
      expect(
        modules.filter((path) => NEVER.test(path) || /^(?:src\/cli|commander|hono|zod)\//.test(path)),
      ).toEqual([]);
      expect(objects).toBeLessThan(WORKER_OBJECTS_MAX);
    }
    const { modules } = await loadedBy(program.pid, folder);
    expect(modules).toContain("src/node/workers/cluster.ts");
    expect(modules.filter((path) => NEVER.test(path) || path === "src/edge/pipeline.ts")).toEqual([]);
  });
});

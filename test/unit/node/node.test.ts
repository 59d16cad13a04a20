import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ManualClock } from "../../../src/base/clock.ts";
import { parseConfig } from "../../../src/config/parse.ts";
import type { Config } from "../../../src/config/schema.ts";
import { type ConfigSource, type NodeOptions, type RunningNode, startNode } from "../../../src/node/node.ts";
import { openDataDir } from "../../../src/service/data-dir.ts";
import { createFakeEdge, edgeEvents, SLOW_MS } from "./fake-edge.ts";

let folder = "";
let messages: string[] = [];
const running: RunningNode[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "proxima-node-"));
  messages = [];
  edgeEvents.length = 0;
});
afterEach(async () => {
  for (const node of running.splice(0)) await node.stop();
  rmSync(folder, { recursive: true, force: true });
});

function configOf(changes: Record<string, unknown> = {}, sites: readonly string[] = ["dev"]): Config {
  const result = parseConfig({
    listen: { http: "127.0.0.1:0", control: "127.0.0.1:0" },
    dataDir: join(folder, "data"),
    sites: Object.fromEntries(
      sites.map((id) => [id, { hosts: [`${id}.example`], origins: { o: { url: "http://127.0.0.1:9" } } }]),
    ),
    ...changes,
  });
  if (!result.ok) throw new Error(result.problems[0]?.message ?? "no config");
  return result.config;
}

/** A source whose changes the test makes. */
class TestSource implements ConfigSource {
  offer: (config: Config) => Promise<boolean> = () => Promise.reject(new Error("not started"));
  problem: (message: string) => void = () => {};
  reloads = 0;
  stopped = false;
  start(onConfig: (config: Config) => Promise<boolean>, onProblem: (message: string) => void): void {
    this.offer = onConfig;
    this.problem = onProblem;
  }
  reload(): Promise<void> {
    this.reloads++;
    return Promise.resolve();
  }
  stop(): void {
    this.stopped = true;
  }
}

async function start(changes: Partial<NodeOptions> = {}): Promise<RunningNode> {
  const node = await startNode({
    config: configOf(),
    source: null,
    createEdge: createFakeEdge,
    control: { token: null, tls: null },
    version: "1.0.0",
    command: "proxima test",
    clock: new ManualClock(),
    log: (level, message) => messages.push(`${level}: ${message}`),
    ...changes,
  });
  running.push(node);
  return node;
}

const snapshotOf = async (node: RunningNode) =>
  await (await fetch(`http://${node.addresses.control}/v1/snapshot`)).json();

describe("a node", () => {
  test("serves viewers and answers on its control listener", async () => {
    const node = await start();
    expect(await (await fetch(`http://${node.addresses.http}/`)).text()).toBe("snapshot 1");
    expect(await snapshotOf(node)).toEqual({
      version: "1.0.0",
      number: 1,
      sites: 1,
      loadedAt: "2026-01-01T00:00:00.000Z",
      lastProblem: null,
    });
    const stats = await (await fetch(`http://${node.addresses.control}/v1/stats`)).json();
    expect(stats).toMatchObject({ requests: 1, hitRatio: 1 });
    expect(node.dataDir).toBe(join(folder, "data"));
  });

  test("puts a newer config in force and says which changes wait for the next start", async () => {
    const source = new TestSource();
    const clock = new ManualClock();
    const node = await start({ source, clock });
    clock.advance(5_000);
    await source.offer(configOf({ cache: { memory: "512MiB" } }, ["dev", "shop"]));
    expect(await snapshotOf(node)).toMatchObject({
      number: 2,
      sites: 2,
      loadedAt: "2026-01-01T00:00:05.000Z",
    });
    expect(messages).toEqual([
      "info: snapshot 2 is in force: 2 sites",
      "warning: changes of cache take effect at the next start",
    ]);
  });

  test("keeps the last good snapshot in force when a config is invalid or refused, and says why", async () => {
    const source = new TestSource();
    const node = await start({ source });
    source.problem("edge.yaml:3:1: sites: is missing");
    expect(await snapshotOf(node)).toMatchObject({
      number: 1,
      lastProblem: "edge.yaml:3:1: sites: is missing",
    });
    expect(await source.offer(configOf({}, ["refused"]))).toBe(false);
    expect(await snapshotOf(node)).toMatchObject({
      number: 1,
      sites: 1,
      lastProblem: "site refused can not be used",
    });
    expect(messages[0]).toBe(
      "error: the config was not changed, snapshot 1 stays in force: edge.yaml:3:1: sites: is missing",
    );
    expect(await source.offer(configOf())).toBe(true);
    expect(await snapshotOf(node)).toMatchObject({ number: 2, lastProblem: null });
  });

  test("drains before it ends, with its control listener still there, and gives everything back", async () => {
    const source = new TestSource();
    const node = await start({ source, config: configOf({ limits: { drainSeconds: 7 } }) });
    const slow = fetch(`http://${node.addresses.http}/slow`);
    await Bun.sleep(SLOW_MS / 4);
    const stopping = node.stop();
    expect((await fetch(`http://${node.addresses.control}/healthz`)).status).toBe(200);
    expect(await (await slow).text()).toBe("snapshot 1");
    await stopping;
    await node.stop();
    expect(edgeEvents).toEqual([`made in ${join(folder, "data")}`, "purges from 0", "drain 7000", "stop"]);
    expect(source.stopped).toBe(true);
    await expect(fetch(`http://${node.addresses.control}/healthz`)).rejects.toThrow();
    openDataDir(join(folder, "data")).release();
  });

  test("does not start twice on one data directory", async () => {
    await start();
    await expect(start()).rejects.toMatchObject({
      code: "data_dir_in_use",
      message: expect.stringContaining(`is in use by process ${process.pid} (proxima test)`),
    });
  });

  test("leaves nothing behind when a listener's address is taken", async () => {
    const taken = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response("") });
    const listen = (name: string) => ({
      listen: { http: "127.0.0.1:0", control: "127.0.0.1:0", [name]: `127.0.0.1:${taken.port}` },
    });
    await expect(start({ config: configOf(listen("control")) })).rejects.toMatchObject({
      code: "address_in_use",
      message: `control address 127.0.0.1:${taken.port} is already in use; choose another with --control`,
    });
    expect(edgeEvents.at(-1)).toBe("stop");
    expect(existsSync(join(folder, "data", "owner.json"))).toBe(false);
    await expect(start({ config: configOf(listen("http")) })).rejects.toMatchObject({
      code: "address_in_use",
    });
    await taken.stop(true);
    await start();
  });

  test("does not put its control listener beyond loopback unprotected", async () => {
    const config = configOf({ listen: { http: "127.0.0.1:0", control: ":0" } });
    await expect(start({ config })).rejects.toMatchObject({ code: "control_not_protected" });
    expect(existsSync(join(folder, "data", "owner.json"))).toBe(false);
  });
});

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { endAll, RunningCli, runCli } from "./run-cli.ts";

let folder = "";
beforeEach(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), "proxima-edge-")));
});
afterEach(async () => {
  await endAll();
  rmSync(folder, { recursive: true, force: true });
});

function writeConfig(sites: readonly string[], more: Record<string, unknown> = {}): void {
  writeFileSync(
    join(folder, "edge.json"),
    JSON.stringify({
      listen: { http: "127.0.0.1:0", control: "127.0.0.1:0" },
      sites: Object.fromEntries(
        sites.map((id) => [id, { hosts: [`${id}.example`], origins: { o: { url: "http://127.0.0.1:9" } } }]),
      ),
      ...more,
    }),
  );
}

async function edge(argv: readonly string[] = []) {
  const running = new RunningCli(["edge", "--config", "edge.json", ...argv], { cwd: folder });
  const [, control] = await running.until(/control {2}(http:\/\/127\.0\.0\.1:\d+) /);
  const snapshot = async () =>
    (await (await fetch(`${control}/v1/snapshot`)).json()) as Record<string, unknown>;
  return { running, snapshot };
}

describe("proxima edge", () => {
  test("serves the sites of a config and takes up changes of the file", async () => {
    writeConfig(["shop"]);
    const { running, snapshot } = await edge();
    expect(running.out).toMatch(/^proxima \S+ serves 1 site of edge\.json\n/);
    expect(await snapshot()).toMatchObject({ number: 1, sites: 1, lastProblem: null });
    writeConfig(["shop", "blog"]);
    await running.until(/snapshot 2 is in force: 2 sites\n/);
    expect(await snapshot()).toMatchObject({ number: 2, sites: 2 });

    writeFileSync(join(folder, "edge.json"), '{ "sites": 1 }');
    await running.until(/the config was not changed, snapshot 2 stays in force: edge\.json:1:\d+: sites: /);
    const { number, lastProblem } = await snapshot();
    expect(number).toBe(2);
    expect(lastProblem).toContain("edge.json:1:");
    expect(await running.end("SIGTERM")).toBe(0);
  });

  test("lets options stand above the file, also after it changed", async () => {
    writeConfig(["shop"], { dataDir: "./of-the-file" });
    const { running } = await edge(["--data-dir", "of-the-option", "--cache-memory", "2MiB"]);
    expect(running.out).toContain("of-the-option");
    writeConfig(["shop", "blog"], { dataDir: "./of-the-file" });
    await running.until(/snapshot 2 is in force/);
    await running.end("SIGTERM");
    expect(running.err).not.toContain("take effect at the next start");
  });

  test("looks at the file at SIGHUP", async () => {
    writeConfig(["shop"]);
    const { running } = await edge();
    writeConfig(["shop", "blog"]);
    running.child.kill("SIGHUP");
    await running.until(/snapshot 2 is in force/);
    expect(await running.end("SIGTERM")).toBe(0);
  });

  test("does not start with a config that is wrong, and says what and where", async () => {
    writeFileSync(join(folder, "edge.json"), '{\n  "sites": 1\n}');
    const { status, out, err } = await runCli(["edge", "--config", "edge.json"], { cwd: folder });
    expect([status, out]).toEqual([2, ""]);
    expect(err).toMatch(/^proxima: edge\.json:2:\d+: sites: .*\n$/);
  });

  test("does not start without an address to listen on", async () => {
    writeConfig(["shop"], { listen: { control: "127.0.0.1:0" } });
    expect(await runCli(["edge", "--config", "edge.json"], { cwd: folder })).toMatchObject({
      status: 2,
      err: "proxima: edge.json names no address to listen on; set listen.http or listen.https, or give --http or --https\n",
    });
  });

  test("refuses a control address that other machines reach, without TLS and a token", async () => {
    writeConfig(["shop"], { listen: { http: "127.0.0.1:0", control: "0.0.0.0:0" } });
    const { status, err } = await runCli(["edge", "--config", "edge.json"], { cwd: folder });
    expect(status).toBe(1);
    expect(err).toBe(
      "proxima: control address 0.0.0.0:0 can be reached from other machines and needs TLS and a token; listen on 127.0.0.1, or give both\n",
    );
  });
});

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SLOW_MS } from "../node/fake-edge.ts";
import { endAll, RunningCli, runCli } from "./run-cli.ts";

let folder = "";
beforeEach(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), "proxima-dev-")));
});
afterEach(async () => {
  await endAll();
  rmSync(folder, { recursive: true, force: true });
});

const FREE = ["--http", ":0", "--https", ":0", "--control", ":0"];

/** `proxima dev` on free ports, once it serves. */
async function dev(argv: readonly string[] = [], env: Record<string, string> = {}) {
  const running = new RunningCli(["dev", ...argv, ...FREE], { cwd: folder, env });
  const [, http] = await running.until(/http {5}(http:\/\/127\.0\.0\.1:\d+)\n/);
  const [, control] = await running.until(/control {2}(http:\/\/127\.0\.0\.1:\d+) /);
  await running.until(/Ctrl\+C/);
  return { running, http: http as string, control: control as string };
}

describe("proxima dev", () => {
  test("prints addresses that answer, and curl lines that work as they stand", async () => {
    const { running, http, control } = await dev();
    expect(await (await fetch(http)).text()).toBe("snapshot 1");
    expect(await (await fetch(`${control}/healthz`)).text()).toBe("ok\n");
    expect(running.out).toMatch(
      /^proxima \d+\.\d+\.\d+ is in front of the demo site \(http:\/\/127\.0\.0\.1:\d+\)\n/,
    );
    expect(running.out).not.toContain("\u001b[");
    const [, line] = await running.until(/^ {2}(curl .*?) {2}# MISS$/m);
    const curl = Bun.spawnSync(["sh", "-c", line as string], { cwd: folder });
    expect(curl.stdout.toString()).toStartWith("HTTP/1.1 200 OK\r\n");
    expect(await running.end("SIGTERM")).toBe(0);
    expect(running.err).toBe("proxima: SIGTERM: draining\n");
  });

  test("shows three lines to try with any origin, and says when it does not answer yet", async () => {
    const { running } = await dev(["http://127.0.0.1:9/app"]);
    expect(running.out).toContain("is in front of http://127.0.0.1:9/app\n");
    expect(running.out.match(/^ {2}curl -s -o /gm)).toHaveLength(3);
    expect(running.out).toContain("-H 'Authorization: Bearer me'");
    await running.until(
      /warning: the origin http:\/\/127\.0\.0\.1:9\/app can not be reached yet: connection refused/,
    );
    await running.end("SIGINT");
  });

  test("takes a directory of files", async () => {
    mkdirSync(join(folder, "public"));
    const { running } = await dev(["public"]);
    expect(running.out).toContain(`is in front of the files of ${join(folder, "public")}\n`);
    await running.end("SIGTERM");
  });

  test("lets an accepted request end after SIGTERM, and takes no new one", async () => {
    const { running, http } = await dev();
    const slow = fetch(`${http}/slow`);
    await Bun.sleep(SLOW_MS / 4);
    const ended = running.end("SIGTERM");
    await running.until(/draining/);
    expect(await (await slow).text()).toBe("snapshot 1");
    expect(await ended).toBe(0);
    await expect(fetch(http)).rejects.toThrow();
  });

  test("ends at once with the second signal", async () => {
    const { running, http } = await dev();
    const slow = fetch(`${http}/slow`).catch(() => "cut");
    await Bun.sleep(SLOW_MS / 4);
    running.child.kill("SIGINT");
    await running.until(/SIGINT: draining/);
    const before = performance.now();
    expect(await running.end("SIGINT")).toBe(130);
    expect(performance.now() - before).toBeLessThan(SLOW_MS / 2);
    expect(await slow).toBe("cut");
  });

  test("goes on after a fault of one request, and ends with status 1 after one that may have broken state", async () => {
    const { running, http } = await dev();
    await fetch(`${http}/reject`);
    await running.until(/unhandled rejection: Error: nobody waits/);
    await fetch(`${http}/reset`);
    await running.until(/uncaught exception: Error: late reset/);
    expect((await fetch(http)).status).toBe(200);
    await fetch(`${http}/throw`);
    await running.until(/a fault that is not safe to ignore: draining/);
    expect(await running.child.exited).toBe(1);
  });

  test("is refused a data directory in use, with the process and the command that uses it", async () => {
    const { running } = await dev();
    const second = await runCli(["dev", ...FREE], { cwd: folder });
    expect(second).toEqual({
      status: 1,
      out: "",
      err: `proxima: data directory ${join(folder, ".proxima")} is in use by process ${running.child.pid} (proxima dev ${FREE.join(" ")}); stop it, or choose another directory with --data-dir\n`,
    });
    running.child.kill("SIGKILL");
    await running.child.exited;
    const again = await dev();
    expect(await again.running.end("SIGTERM")).toBe(0);
  });

  test("fails on a port that was asked for and is taken", async () => {
    const taken = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response("") });
    for (const name of ["http", "control"]) {
      const address = `127.0.0.1:${taken.port}`;
      const { status, err } = await runCli(["dev", ...FREE, `--${name}`, address], { cwd: folder });
      expect([status, err]).toEqual([
        1,
        `proxima: ${name} address ${address} is already in use; choose another with --${name}\n`,
      ]);
    }
    await taken.stop(true);
  });

  test("keeps standard output to the access log when that is where the log goes", async () => {
    const { running } = await dev(["--access-log", "-"]);
    expect(running.out).toBe("");
    expect(running.err).toContain("is in front of the demo site");
    await running.end("SIGTERM");
  });
});

describe("proxima explain", () => {
  test("shows the steps of a running node", async () => {
    const { running, control } = await dev();
    const address = control.slice("http://".length);
    const argv = [
      "explain",
      "http://shop.example/a",
      "--control",
      address,
      "--header",
      "Accept: text/html",
      "--method",
      "HEAD",
    ];
    expect(await runCli(argv)).toEqual({
      status: 0,
      err: "",
      out: [
        "http://shop.example/a",
        "",
        "  site       dev",
        "             host: *",
        "             method: HEAD",
        "  key        dev/a",
        "             headers:",
        "               accept: text/html",
        "             none: none",
        "             list: a, b",
        "",
        "  now        hit (fresh)",
        "",
      ].join("\n"),
    });
    const json = await runCli([...argv, "--json"]);
    expect(JSON.parse(json.out)).toMatchObject({ url: "http://shop.example/a", would: { result: "hit" } });
    await running.end("SIGTERM");
  });

  test("says that nothing listens, or that it is not a control listener", async () => {
    const other = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response("<html>") });
    const address = `127.0.0.1:${other.port}`;
    expect(await runCli(["explain", "http://a/", "--control", address])).toMatchObject({
      status: 1,
      err: `proxima: what listens at http://${address} is not a proxima control listener\n`,
    });
    await other.stop(true);
    expect(await runCli(["explain", "http://a/", "--control", address])).toMatchObject({
      status: 1,
      err: `proxima: nothing listens at http://${address}; start proxima, or name its control listener with --control\n`,
    });
  });

  test("hands on what the node refuses, without its control characters", async () => {
    const detail = "no\u001b[31m such\nhost";
    const other = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch: () => Response.json({ detail }, { status: 400 }),
    });
    expect(await runCli(["explain", "http://a/", "--control", `127.0.0.1:${other.port}`])).toMatchObject({
      status: 2,
      err: "proxima: no?[31m such?host\n",
    });
    await other.stop(true);
  });
});

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import manifest from "../../../package.json" with { type: "json" };
import { endAll, runCli } from "./run-cli.ts";

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "proxima-cli-"));
});
afterEach(async () => {
  await endAll();
  rmSync(folder, { recursive: true, force: true });
});

describe("the command line", () => {
  test("prints its version and its help, with examples", async () => {
    expect(await runCli(["--version"])).toEqual({ status: 0, out: `${manifest.version}\n`, err: "" });
    const help = await runCli(["--help"]);
    expect(help.status).toBe(0);
    expect(help.err).toBe("");
    for (const word of ["dev", "edge", "config", "explain", "Examples:", "Exit status:"]) {
      expect(help.out).toContain(word);
    }
    for (const command of [
      ["dev"],
      ["edge"],
      ["control"],
      ["plan"],
      ["nodes", "invite"],
      ["config", "check"],
      ["explain"],
    ]) {
      const one = await runCli([...command, "--help"]);
      expect([command, one.status]).toEqual([command, 0]);
      expect(one.out).toMatch(/Examples?:\n {2}\$ proxima /);
    }
  });

  test("shows the help on standard error when no command is given", async () => {
    const { status, out, err } = await runCli([]);
    expect([status, out]).toEqual([2, ""]);
    expect(err).toStartWith("Usage: proxima");
  });

  test.each([
    [["devv"], "unknown command 'devv'; did you mean dev ?"],
    [["config", "chek", "x"], "unknown command 'chek'; did you mean check ?"],
    [["dev", "--htp", ":0"], "unknown option '--htp'; did you mean --http ?"],
    [["dev", "http://a", "b"], "too many arguments for 'dev'. Expected 1 argument but got 2"],
    [
      ["dev", "--http", "127.0.0.1"],
      "option '--http <HOST:PORT>' argument '127.0.0.1' is invalid. Expected HOST:PORT, :PORT or [::1]:PORT, with a port from 0 to 65535 (0 picks a free one)",
    ],
    [
      ["dev", "--cache-memory", "12"],
      "option '--cache-memory <SIZE>' argument '12' is invalid. Expected a size of at least 1MiB, such as 256MiB or 1GiB",
    ],
    [
      ["dev", "localhost:3000"],
      'origin "localhost:3000" is neither a URL beginning with http:// or https:// nor a directory; did you mean http://localhost:3000 ?',
    ],
    [
      ["dev", "3000"],
      'origin "3000" is neither a URL beginning with http:// or https:// nor a directory; did you mean http://127.0.0.1:3000 ?',
    ],
    [["dev", "ftp://a"], 'origin "ftp://a" must begin with http:// or https://'],
    [["dev", "http://"], 'origin "http://" is not a readable URL; write http://host[:port][/prefix]'],
    [
      ["dev", "http://me:secret@a"],
      'origin "http://***@a" must have no user, query or fragment; write http://host[:port][/prefix]',
    ],
    [["edge"], "give --config FILE, or --control URL for an edge of a fleet"],
    [
      ["edge", "--control", "http://control.example"],
      "option '--control <HOST:PORT|URL>' argument 'http://control.example' is invalid. Expected \"https://host[:port]\", or \"http://127.0.0.1:port\" on this machine",
    ],
    [["nodes", "list"], "set PROXIMA_CONTROL_TOKEN to a token of the control plane: it always wants one"],
    [["control", "--tls-cert", "x"], "--tls-cert and --tls-key stand together: give both, or neither"],
    [
      ["rollback", "shop", "--control", "here"],
      "option '--control <URL>' argument 'here' is invalid. Expected http(s)://HOST:PORT",
    ],
    [["explain", "/a"], '"/a" is not a URL; write http(s)://host/path'],
    [
      ["explain", "http://a/", "--header", "x"],
      "option '--header <LINE>' argument 'x' is invalid. Expected 'Name: value'",
    ],
  ])("answers %p with one sentence and status 2", async (argv, sentence) => {
    expect(await runCli(argv, { cwd: folder })).toEqual({
      status: 2,
      out: "",
      err: `proxima: ${sentence}\n`,
    });
  });
});

describe("proxima config check", () => {
  const site = { hosts: ["shop.example"], origins: { app: { url: "http://127.0.0.1:9" } } };

  test("says what a valid config holds", async () => {
    writeFileSync(join(folder, "edge.json"), JSON.stringify({ sites: { shop: site } }));
    expect(await runCli(["config", "check", "edge.json"], { cwd: folder })).toMatchObject({
      status: 0,
      out: "edge.json: ok, 1 site, 1 behavior\n",
    });
  });

  test("tells each problem with file and line, and ends with status 2", async () => {
    writeFileSync(join(folder, "edge.yaml"), "sites:\n  shop:\n    hots: [shop.example]\n    origins: {}\n");
    const { status, out, err } = await runCli(["config", "check", "edge.yaml"], { cwd: folder });
    expect([status, out]).toEqual([2, ""]);
    expect(err).toMatch(/^edge\.yaml:3:\d+: sites\.shop\.hots: .*hosts/m);
  });

  test("says that a file is not there", async () => {
    const { status, err } = await runCli(["config", "check", "none.yaml"], { cwd: folder });
    expect(status).toBe(2);
    expect(err).toBe("none.yaml: there is no such file\n");
  });
});

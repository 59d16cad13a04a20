import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bunPackages, findBun } from "../../../scripts/bun.mjs";

const wrapper = join(import.meta.dir, "../../../scripts/bun.mjs");
let folder = "";

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "bun-script-"));
});

afterEach(() => rmSync(folder, { recursive: true, force: true }));

function installFake(at: string, name: string): string {
  const bin = join(at, "node_modules", name, "bin");
  mkdirSync(bin, { recursive: true });
  const path = join(bin, "bun");
  writeFileSync(path, "#!/bin/sh\n");
  chmodSync(path, 0o755);
  return path;
}

/** Starts a program under the wrapper, under Node as a person would. */
function start(code: string) {
  const file = join(folder, "program.ts");
  writeFileSync(file, code);
  return Bun.spawn(["node", wrapper, file], { stdout: "pipe", stderr: "pipe", stdin: "ignore" });
}

describe("the package that holds Bun", () => {
  test.each([
    ["linux", "x64", false, "@oven/bun-linux-x64"],
    ["linux", "x64", true, "@oven/bun-linux-x64-musl"],
    ["linux", "arm64", false, "@oven/bun-linux-aarch64"],
    ["linux", "arm64", true, "@oven/bun-linux-aarch64-musl"],
    ["darwin", "arm64", false, "@oven/bun-darwin-aarch64"],
    ["darwin", "x64", false, "@oven/bun-darwin-x64"],
  ])("on %s %s (musl: %p) is %s", (platform, arch, musl, name) => {
    expect(bunPackages({ platform, arch, musl })[0]).toBe(name);
  });

  test("does not exist for other machines, which is said in a sentence", () => {
    expect(() => findBun(folder, { platform: "linux", arch: "s390x", musl: false })).toThrow(
      "Bun does not run on linux s390x",
    );
  });

  test("is found in this folder or above, without the link in .bin", () => {
    const machine = { platform: "linux", arch: "arm64", musl: false };
    const above = installFake(folder, "@oven/bun-linux-aarch64");
    const inside = join(folder, "node_modules", "proxima-cdn");
    mkdirSync(inside, { recursive: true });
    expect(findBun(inside, machine)).toBe(above);
    const nearer = installFake(inside, "@oven/bun-linux-aarch64");
    expect(findBun(inside, machine)).toBe(nearer);
  });

  test("is named when it is not installed", () => {
    expect(() => findBun(folder, { platform: "darwin", arch: "arm64", musl: false })).toThrow(
      "no @oven/bun-darwin-aarch64 in node_modules",
    );
  });
});

describe("a program run by the wrapper", () => {
  test("passes its exit status on", async () => {
    expect(await start("process.exit(7)").exited).toBe(7);
    expect(await start("").exited).toBe(0);
  });

  test.each(["SIGTERM", "SIGINT", "SIGHUP"] as const)("gets %s and ends in its own time", async (signal) => {
    const child = start(
      `process.on("${signal}", () => { console.log("drained"); process.exit(5); }); console.log("up"); setInterval(() => {}, 1000);`,
    );
    const output = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    expect((await output.read()).value).toContain("up");
    child.kill(signal);
    expect((await output.read()).value).toContain("drained");
    expect(await child.exited).toBe(5);
  });

  test("that is ended by a signal ends the wrapper by the same one", async () => {
    const child = start('process.kill(process.pid, "SIGKILL"); setInterval(() => {}, 1000);');
    await child.exited;
    expect(child.signalCode).toBe("SIGKILL");
  });
});

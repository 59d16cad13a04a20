import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const repository = join(import.meta.dir, "../../..");
let folder = "";
let temporary = "";

/** A small repository with the real scripts and the real Bun. */
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "runner-"));
  temporary = mkdtempSync(join(tmpdir(), "runner-tmp-"));
  mkdirSync(join(folder, "scripts"));
  mkdirSync(join(folder, "test", "unit"), { recursive: true });
  for (const name of readdirSync(join(repository, "scripts"))) {
    if (name.endsWith(".mjs")) cpSync(join(repository, "scripts", name), join(folder, "scripts", name));
  }
  symlinkSync(join(repository, "node_modules"), join(folder, "node_modules"));
});

afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
  rmSync(temporary, { recursive: true, force: true });
});

function file(name: string, body: string): void {
  writeFileSync(
    join(folder, "test", "unit", `${name}.test.ts`),
    `import { expect, test } from "bun:test";\n${body}\n`,
  );
}

async function run(...args: string[]): Promise<{ code: number; last: string; output: string }> {
  const child = Bun.spawn(["node", join(folder, "scripts", "test.mjs"), ...args], {
    env: { ...process.env, TMPDIR: temporary },
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, err] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  const code = await child.exited;
  return { code, last: out.trimEnd().split("\n").at(-1) ?? "", output: `${out}${err}` };
}

describe("npm test", () => {
  test("is green and ends with the sum; temporary files are gone", async () => {
    file("a", 'test("one", () => {}); test.skip("two", () => {});');
    file(
      "b",
      'import { writeFileSync } from "node:fs"; import { tmpdir } from "node:os"; test("three", () => { writeFileSync(tmpdir() + "/left.txt", ""); });',
    );
    const { code, last, output } = await run();
    expect([code, last]).toEqual([0, "2 passed, 0 failed"]);
    expect(output).toContain("1 skipped");
    expect(output).toContain("left.txt");
    expect(readdirSync(temporary)).toEqual([]);
  });

  test("is red when a test fails or a file can not be loaded", async () => {
    file("a", 'test("good", () => {}); test("bad", () => { expect(1).toBe(2); });');
    file("b", 'throw new Error("broken");');
    const { code, last } = await run();
    expect([code, last]).toEqual([1, "1 passed, 2 failed"]);
  });

  test("is red when no test ran", async () => {
    const nothing = await run();
    expect([nothing.code, nothing.last]).toEqual([1, "0 passed, 0 failed"]);
    file("a", "expect(1).toBe(1);");
    expect((await run()).code).toBe(1);
    file("b", 'test("one", () => {});');
    expect((await run("no-such-file")).code).toBe(1);
  });

  test("is red when the run is cut short", async () => {
    file("a", 'test("one", () => {}); test("dies", () => { process.kill(process.pid, "SIGKILL"); });');
    const { code, last, output } = await run();
    expect([code, last]).toEqual([1, "0 passed, 1 failed"]);
    expect(output).toContain("ended without a summary (SIGKILL)");
  });

  test.skipIf(!existsSync("/proc/self/environ"))(
    "is red when a process is left behind, names it and ends it",
    async () => {
      file(
        "a",
        'import { spawn } from "node:child_process"; test("one", () => { const child = spawn("sleep", ["31.4159"], { detached: true, stdio: "ignore" }); child.unref(); });',
      );
      const { code, last, output } = await run();
      expect([code, last]).toEqual([1, "1 passed, 1 failed"]);
      const pid = /left a process behind: (\d+) sleep 31\.4159/.exec(output)?.[1];
      expect(pid).toBeDefined();
      // Ended by id: it is gone, or a zombie until its parent collects it.
      const stat = join("/proc", pid ?? "", "stat");
      const state = existsSync(stat) ? (await Bun.file(stat).text()).replace(/^.*\) /, "")[0] : "Z";
      expect(state).toBe("Z");
    },
    20_000,
  );

  test("runs the files whose path contains a filter, and hands flags to bun test", async () => {
    file("apple", 'test("one", () => {}); test("two", () => {});');
    file("pear", 'test("three", () => {});');
    expect((await run("pear")).last).toBe("1 passed, 0 failed");
    expect((await run("apple", "-t", "two")).last).toBe("1 passed, 0 failed");
  });
});

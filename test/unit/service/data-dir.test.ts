import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openDataDir } from "../../../src/service/data-dir.ts";

let folder = "";
const children: Bun.Subprocess[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "proxima-data-"));
});
afterEach(async () => {
  for (const child of children.splice(0)) {
    child.kill("SIGKILL");
    await child.exited;
  }
  rmSync(folder, { recursive: true, force: true });
});

function caught(run: () => unknown): { code: string; message: string } {
  try {
    run();
  } catch (error) {
    return error as { code: string; message: string };
  }
  throw new Error("nothing was thrown");
}

/** A second process that holds the directory until it is killed. */
async function holder(path: string, command: string): Promise<Bun.Subprocess> {
  const script = join(folder, "holder.ts");
  const source = join(import.meta.dir, "../../../src/service/data-dir.ts");
  writeFileSync(
    script,
    `import { openDataDir } from ${JSON.stringify(source)};
     openDataDir(${JSON.stringify(path)}, ${JSON.stringify(command)});
     // A child that outlives its parent must not hold the lock on.
     const child = Bun.spawn(["sleep", "5"], { stdin: "ignore", stdout: "ignore", stderr: "ignore" });
     console.log(child.pid);
     await new Promise(() => setInterval(() => {}, 1000));`,
  );
  const child = Bun.spawn([process.execPath, script], { stdout: "pipe", stderr: "inherit" });
  children.push(child);
  const { value } = await child.stdout.getReader().read();
  grandchild = Number(new TextDecoder().decode(value));
  return child;
}
let grandchild = 0;
afterEach(() => {
  if (grandchild > 0) {
    try {
      process.kill(grandchild, "SIGKILL");
    } catch {
      // It has ended already.
    }
  }
  grandchild = 0;
});

describe("a data directory", () => {
  test("is made for its owner only, and can be opened again after it was released", () => {
    const path = join(folder, "a", "b");
    const first = openDataDir(path);
    expect(statSync(path).mode & 0o777).toBe(0o700);
    expect(first.file("ca", "root.pem")).toBe(join(path, "ca", "root.pem"));
    first.release();
    first.release();
    expect(existsSync(join(path, "owner.json"))).toBe(false);
    openDataDir(path).release();
  });

  test("can not be opened twice by one process", () => {
    const dir = openDataDir(join(folder, "d"));
    expect(caught(() => openDataDir(join(folder, "d"))).code).toBe("data_dir_in_use");
    // The failed try must not have given the first one's lock back.
    expect(caught(() => openDataDir(join(folder, "d"))).code).toBe("data_dir_in_use");
    dir.release();
  });

  test("that another process holds is refused with that process's number and command", async () => {
    const path = join(folder, "d");
    const child = await holder(
      path,
      `proxima edge --join pxj_0123456789ab_${"s".repeat(43)} --config http://me:secret@x/\n\u001b[31m`,
    );
    const error = caught(() => openDataDir(path));
    expect(error.code).toBe("data_dir_in_use");
    expect(error.message).toBe(
      `data directory ${path} is in use by process ${child.pid} (proxima edge --join pxj_0123456789ab_*** --config http://***@x/??[31m); ` +
        "stop it, or choose another directory with --data-dir",
    );
  });

  test("is free at once when its process was killed with SIGKILL, though a child of it lives", async () => {
    const path = join(folder, "d");
    const child = await holder(path, "proxima edge");
    child.kill("SIGKILL");
    await child.exited;
    expect(existsSync(join(path, "owner.json"))).toBe(true);
    process.kill(grandchild, 0);
    openDataDir(path).release();
  });

  test("keeps its lock while this process opens and fails to open it, seen from another process", async () => {
    const path = join(folder, "d");
    const dir = openDataDir(path, "proxima dev");
    caught(() => openDataDir(path));
    const source = join(import.meta.dir, "../../../src/service/data-dir.ts");
    const script = `import { openDataDir } from ${JSON.stringify(source)};
      try { openDataDir(${JSON.stringify(path)}); console.log("opened"); } catch (error) { console.log(error.message); }`;
    const run = () => Bun.spawnSync([process.execPath, "-e", script]).stdout.toString();
    expect(run()).toContain(`is in use by process ${process.pid} (proxima dev)`);
    dir.release();
    expect(run()).toBe("opened\n");
  });

  test("names the other process as well as it can when the note is broken", () => {
    const path = join(folder, "d");
    const dir = openDataDir(path);
    for (const note of ["", "{", "null", '{"pid":"1; rm"}', "x".repeat(100_000)]) {
      writeFileSync(join(path, "owner.json"), note);
      expect(caught(() => openDataDir(path)).message).toContain("is in use by another process;");
    }
    dir.release();
  });

  test("that can not be used is refused with the reason", () => {
    writeFileSync(join(folder, "file"), "");
    for (const path of [join(folder, "file"), join(folder, "file", "below")]) {
      const error = caught(() => openDataDir(path));
      expect(error.code).toBe("data_dir_unusable");
      expect(error.message).toBe(`data directory ${path} can not be used: it is not a directory`);
    }
    writeFileSync(
      join(folder, "lock.db"),
      "this is no database, and longer than a header of one would be".repeat(20),
    );
    expect(caught(() => openDataDir(folder)).code).toBe("data_dir_unusable");
  });

  // The superuser may write anywhere.
  test.skipIf(process.getuid?.() === 0)("without write permission is refused with the reason", () => {
    chmodSync(folder, 0o500);
    const error = caught(() => openDataDir(folder));
    chmodSync(folder, 0o700);
    expect(error.message).toBe(`data directory ${folder} can not be used: this user can not write to it`);
  });
});

import { afterEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { missingPrograms, TOOLS } from "../../../bench/compare/packages.ts";
import { Processes } from "../../../bench/compare/processes.ts";

const MODULE = join(import.meta.dir, "../../../bench/compare/processes.ts");
const END_WAIT_MS = 5_000;
const folders: string[] = [];
/** taskset, setpriv and prlimit are the kernel's own tools: there is no other way to do what is tested. */
const isLinux = missingPrograms(TOOLS.filter((tool) => tool.package === "util-linux")).length === 0;

afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function untilGone(pid: number): Promise<boolean> {
  const endMs = performance.now() + END_WAIT_MS;
  while (isAlive(pid) && performance.now() < endMs) await Bun.sleep(10);
  return !isAlive(pid);
}

test.skipIf(!isLinux)("a server ends when the harness is killed outright", async () => {
  const folder = mkdtempSync(join(tmpdir(), "proxima-bench-test-"));
  folders.push(folder);
  const script = join(folder, "harness.ts");
  writeFileSync(
    script,
    `import { Processes } from ${JSON.stringify(MODULE)};
const server = new Processes().start("server", ["sleep", "60"], { cpus: "0" });
// Told when it is the program itself: before that, what starts it would be killed instead.
while (!(await Bun.file("/proc/" + server.pid + "/comm").text()).startsWith("sleep")) await Bun.sleep(5);
console.log(server.pid);
setInterval(() => {}, 1000);`,
  );
  const harness = Bun.spawn([process.execPath, script], { stdout: "pipe" });
  const reader = harness.stdout.getReader();
  const pid = Number(new TextDecoder().decode((await reader.read()).value));
  expect(isAlive(pid)).toBe(true);
  harness.kill("SIGKILL");
  await harness.exited;
  expect(await untilGone(pid)).toBe(true);
});

test.skipIf(!isLinux)(
  "a server that does not heed SIGTERM, and its children, are ended all the same",
  async () => {
    const processes = new Processes();
    const stubborn = processes.start(
      "stubborn",
      ["sh", "-c", "trap '' TERM; sleep 60 & echo up; wait; sleep 60"],
      {
        cpus: "0",
      },
    );
    while (!stubborn.output.includes("up")) await Bun.sleep(5);
    const pids = stubborn.pids();
    expect(pids.length).toBeGreaterThan(1);
    await processes.stop(100);
    for (const pid of pids) expect(await untilGone(pid)).toBe(true);
  },
);

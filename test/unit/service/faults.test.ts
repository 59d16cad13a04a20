import { afterEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A real process with the handlers installed; `body` is what goes wrong in it. */
async function runFaulty(body: string): Promise<{ status: number; lines: string[] }> {
  const folder = mkdtempSync(join(tmpdir(), "proxima-fault-"));
  folders.push(folder);
  const script = join(folder, "faulty.ts");
  const source = join(import.meta.dir, "../../../src/service");
  writeFileSync(
    script,
    `import { installFaultHandlers } from ${JSON.stringify(join(source, "faults.ts"))};
     import { logLine } from ${JSON.stringify(join(source, "log.ts"))};
     let now = 0;
     installFaultHandlers({
       log: (level, message) => console.log(logLine(level, message).trimEnd()),
       now: () => now,
       fatal: () => { console.log("draining"); setTimeout(() => process.exit(1), 5); },
     });
     const later = () => new Promise((resolve) => setTimeout(resolve, 5));
     ${body}
     await later();
     console.log("alive");
     setTimeout(() => process.exit(0), 20);`,
  );
  const child = Bun.spawn([process.execPath, script], { stdout: "pipe", stderr: "inherit" });
  const text = await new Response(child.stdout).text();
  return { status: await child.exited, lines: text.trimEnd().split("\n") };
}
const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

describe("an error that reaches nobody", () => {
  test("as a rejected promise is logged with its place, and the process goes on", async () => {
    const { status, lines } = await runFaulty(`void Promise.reject(new Error("a\\nproxima: forged"));`);
    expect(status).toBe(0);
    expect(lines).toHaveLength(2);
    expect(lines[0]).toMatch(
      /^proxima: error: unhandled rejection: Error: a; proxima: forged at .*faulty\.ts:/,
    );
    expect(lines[1]).toBe("alive");
  });

  test("as a socket's late error is logged, and the process goes on", async () => {
    const { status, lines } = await runFaulty(
      `setTimeout(() => { throw Object.assign(new Error("gone"), { code: "ECONNRESET" }); }, 0);`,
    );
    expect(status).toBe(0);
    expect(lines.at(-1)).toBe("alive");
  });

  test("as any other exception drains and ends the process with status 1", async () => {
    const { status, lines } = await runFaulty(`setTimeout(() => { throw new Error("half changed"); }, 0);`);
    expect(status).toBe(1);
    expect(lines[0]).toStartWith("proxima: error: uncaught exception: Error: half changed");
    expect(lines[1]).toBe("draining");
  });

  test("is told of at most twenty times a minute, and a flood ends the process", async () => {
    const { status, lines } = await runFaulty(
      `for (let i = 0; i < 30; i++) void Promise.reject(new Error("r" + i));
       await later();
       now += 60_000;
       void Promise.reject(new Error("next minute"));
       await later();
       for (let i = 0; i < 1_100; i++) void Promise.reject("flood");`,
    );
    expect(lines.slice(0, 20).every((line) => line.includes("unhandled rejection"))).toBe(true);
    expect(lines[20]).toBe("proxima: error: 10 more faults were not logged");
    expect(lines[21]).toContain("next minute");
    expect(lines.filter((line) => line.includes("flood"))).toHaveLength(19);
    expect(lines.filter((line) => line === "draining")).toHaveLength(1);
    expect(status).toBe(1);
  });
});

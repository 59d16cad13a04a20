/** Proxima as a process of its own, for measurements. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ENGINE_ENV } from "../../scripts/bun.mjs";

/** A started edge. */
export interface EdgeProcess {
  readonly pid: number;
  readonly port: number;
  readonly controlPort: number;
  readonly folder: string;
  /** Resident memory in MiB. */
  rssMiB(): number;
  /** CPU time so far in seconds, user and system. */
  cpuSeconds(): number;
  stats(): Promise<Record<string, unknown>>;
  stop(): Promise<void>;
}

const main = new URL("../../src/main.ts", import.meta.url).pathname;

/** Starts `proxima` with these arguments plus addresses and a data directory of its own; waits until it is ready. */
export async function startEdgeProcess(
  args: string[],
  folder = mkdtempSync(join(tmpdir(), "proxima-bench-")),
): Promise<EdgeProcess> {
  const child = Bun.spawn(
    [
      process.execPath,
      main,
      ...args,
      "--http",
      "127.0.0.1:0",
      "--control",
      "127.0.0.1:0",
      "--data-dir",
      join(folder, "data"),
    ],
    { stdout: "pipe", stderr: "inherit", cwd: folder, env: { ...ENGINE_ENV, ...process.env } },
  );
  let text = "";
  const reader = child.stdout.getReader();
  const decoder = new TextDecoder();
  while (!/control\s+http:\/\/127\.0\.0\.1:\d+/.test(text)) {
    const { value, done } = await reader.read();
    if (done) throw new Error(`the edge ended: ${text}`);
    text += decoder.decode(value);
  }
  void (async () => {
    while (!(await reader.read()).done);
  })();
  const port = Number(/http\s+http:\/\/127\.0\.0\.1:(\d+)/.exec(text)?.[1]);
  const controlPort = Number(/control\s+http:\/\/127\.0\.0\.1:(\d+)/.exec(text)?.[1]);
  return {
    pid: child.pid,
    port,
    controlPort,
    folder,
    rssMiB: () =>
      Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, "utf8"))?.[1]) / 1024,
    cpuSeconds() {
      const fields = readFileSync(`/proc/${child.pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
      return (Number(fields[11]) + Number(fields[12])) / 100;
    },
    async stats() {
      return (await (await fetch(`http://127.0.0.1:${controlPort}/v1/stats`)).json()) as Record<
        string,
        unknown
      >;
    },
    async stop() {
      child.kill("SIGTERM");
      await child.exited;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

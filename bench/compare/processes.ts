/**
 * The processes of a comparison: each pinned to a core, each ended by its id, whatever way the run ends.
 * A process that loses its parent is told to end by the kernel (PR_SET_PDEATHSIG), so that not even
 * kill -9 of the harness leaves one behind.
 */
import { readFileSync } from "node:fs";
import { childrenOf } from "../../test/kit/processes.ts";
import { findProgram } from "./packages.ts";

/** How long a process may take to end after SIGTERM before it is killed, in milliseconds. */
const END_WAIT_MS = 5_000;
/** How long a server may take until its port answers, in milliseconds. */
const READY_WAIT_MS = 30_000;
const READY_POLL_MS = 50;
/** Ticks of /proc/PID/stat a second: USER_HZ, 100 on every Linux there is. */
const TICKS_PER_SECOND = 100;
/** Descriptors that a process may open: as many as the system lets it, 65,536 at most. */
export const DESCRIPTORS = Math.min(
  65_536,
  Number(/^Max open files\s+\S+\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1] ?? 65_536),
);

/** How a process is started. */
export interface StartOptions {
  /** Cores it may run on, as taskset writes them: "0", "1", "0,1". */
  readonly cpus: string;
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Lower is favoured; null leaves it. */
  readonly nice?: number | null;
  /** Runs only while nothing else wants its core, and gives way at once: the kernel's idle class. */
  readonly yields?: boolean;
}

/** A started process and what it started. */
export class Process {
  readonly name: string;
  readonly child: Bun.Subprocess<"ignore", "pipe", "pipe">;
  #output = "";

  constructor(name: string, argv: readonly string[], options: StartOptions) {
    this.name = name;
    this.child = Bun.spawn([...argv], {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      env: { ...process.env, ...options.env },
    });
    for (const stream of [this.child.stdout, this.child.stderr]) void this.#keep(stream);
  }

  get pid(): number {
    return this.child.pid;
  }

  get running(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  /** The end of what it printed. */
  get output(): string {
    return this.#output.trim();
  }

  /** Ids of the process and of everything below it. */
  pids(): number[] {
    const all = [this.pid];
    for (let at = 0; at < all.length; at++) all.push(...childrenOf(all[at] as number));
    return all;
  }

  /** CPU time so far of all its processes, user and system, in seconds. */
  cpuSeconds(): number {
    return this.pids().reduce((sum, pid) => sum + cpuSecondsOf(pid), 0);
  }

  /** Resident memory of all its processes, in bytes; shared pages count once for each. */
  residentBytes(): number {
    return this.pids().reduce((sum, pid) => sum + residentBytesOf(pid), 0);
  }

  /** Asks it to end, and after `waitMs` makes it end. */
  async stop(waitMs = END_WAIT_MS): Promise<void> {
    if (!this.running) return;
    const below = this.pids().slice(1);
    this.child.kill("SIGTERM");
    const ended = await Promise.race([
      this.child.exited.then(() => true),
      Bun.sleep(waitMs).then(() => false),
    ]);
    if (ended) return;
    this.child.kill("SIGKILL");
    await this.child.exited;
    // Its children had no parent to end them.
    for (const pid of below) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // Ended by itself.
      }
    }
  }

  async #keep(stream: ReadableStream<Uint8Array>): Promise<void> {
    const decoder = new TextDecoder();
    for await (const piece of stream) {
      this.#output = (this.#output + decoder.decode(piece, { stream: true })).slice(-4_000);
    }
  }
}

/** Every process that a run started. */
export class Processes {
  readonly #started = new Set<Process>();

  /** Starts a long-lived process. */
  start(name: string, argv: readonly string[], options: StartOptions): Process {
    const started = new Process(name, pinned(argv, options), options);
    this.#started.add(started);
    void started.child.exited.then(() => this.#started.delete(started));
    return started;
  }

  /** Runs a program to its end; rejects when it fails. Resolves with what it printed on both streams. */
  async run(argv: readonly string[], options: StartOptions): Promise<string> {
    const child = Bun.spawn(pinned(argv, options), {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
      env: { ...process.env, ...options.env },
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    });
    const [out, err, status] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
      child.exited,
    ]);
    if (status !== 0) throw new Error(`${argv[0]} ended with status ${status}: ${(err || out).trim()}`);
    return `${out}${err}`;
  }

  /** Ends all, the latest first; each has `waitMs` for it. */
  async stop(waitMs = END_WAIT_MS): Promise<void> {
    for (const one of [...this.#started].reverse()) await one.stop(waitMs);
  }
}

/** Resolves when something listens on a loopback port; rejects when its process ends or takes too long. */
export async function untilListening(port: number, by: Process): Promise<void> {
  const endMs = performance.now() + READY_WAIT_MS;
  for (;;) {
    try {
      const socket = await Bun.connect({
        hostname: "127.0.0.1",
        port,
        socket: { data() {}, error() {}, connectError() {} },
      });
      socket.end();
      return;
    } catch {
      if (!by.running) throw new Error(`${by.name} ended: ${by.output}`);
      if (performance.now() > endMs) {
        throw new Error(
          `${by.name} did not listen on port ${port} within ${READY_WAIT_MS / 1000} s: ${by.output}`,
        );
      }
      await Bun.sleep(READY_POLL_MS);
    }
  }
}

/** A TCP port of the loopback address that was free a moment ago. */
export function freePort(): number {
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const { port } = listener;
  listener.stop(true);
  return port;
}

/** Time that a core has not been idle since the machine started, in seconds. */
export function busySecondsOf(cpu: string): number {
  const line = new RegExp(`^cpu${cpu} (.*)$`, "m").exec(readFileSync("/proc/stat", "utf8"))?.[1] ?? "";
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0, steal = 0] = line.split(" ").map(Number);
  return (user + nice + system + irq + softirq + steal) / TICKS_PER_SECOND;
}

function pinned(argv: readonly string[], { cpus, nice, yields }: StartOptions): string[] {
  const [name = "", ...args] = argv;
  const command = [findProgram(name) ?? name, ...args];
  return [
    ...["setpriv", "--pdeathsig", "TERM"],
    ...["prlimit", `--nofile=${DESCRIPTORS}:${DESCRIPTORS}`],
    ...(nice == null ? [] : ["nice", "-n", String(nice)]),
    ...(yields === true ? ["chrt", "--idle", "0"] : []),
    ...["taskset", "-c", cpus],
    ...command,
  ];
}

function cpuSecondsOf(pid: number): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
  } catch {
    return 0;
  }
}

function residentBytesOf(pid: number): number {
  try {
    return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) * 1024;
  } catch {
    return 0;
  }
}

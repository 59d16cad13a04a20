/** The program as a person or a service manager runs it: a process, its output, its end. */
import { mkdtempSync, readFileSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ENGINE_ENV } from "../../scripts/bun.mjs";

const MAIN = join(import.meta.dir, "../../src/main.ts");
/** A test that waits longer for output has failed, in milliseconds. */
const OUTPUT_WAIT_MS = 10_000;

/** Resident memory of a process in bytes. */
export function rssBytesOf(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) * 1024;
}

/** How a run of the program ended. */
export interface ProgramEnd {
  /** Exit status; 128 and the signal's number when a signal ended it. */
  readonly status: number;
  readonly out: string;
  readonly err: string;
}

/** Options of a run. */
export interface ProgramOptions {
  readonly cwd: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** A program that was started. */
export class Program {
  readonly child: Bun.Subprocess<"ignore", "pipe", "pipe">;
  out = "";
  err = "";
  readonly #output: Promise<unknown>;
  #waiting: (() => void)[] = [];
  #closed = false;

  constructor(argv: readonly string[], options: ProgramOptions) {
    const { NO_COLOR: _, PROXIMA_CONTROL_TOKEN: __, ...inherited } = process.env;
    this.child = Bun.spawn([process.execPath, MAIN, ...argv], {
      cwd: options.cwd,
      env: { ...ENGINE_ENV, ...inherited, ...options.env },
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    const read = async (stream: ReadableStream<Uint8Array>, take: (text: string) => void): Promise<void> => {
      const decoder = new TextDecoder();
      for await (const piece of stream) {
        take(decoder.decode(piece, { stream: true }));
        this.#wake();
      }
    };
    this.#output = Promise.all([
      read(this.child.stdout, (text) => {
        this.out += text;
      }),
      read(this.child.stderr, (text) => {
        this.err += text;
      }),
    ]).then(() => {
      this.#closed = true;
      this.#wake();
    });
  }

  /** The first match in what was printed on either stream; rejects when the program ends or 10 s pass without it. */
  async until(pattern: RegExp): Promise<RegExpExecArray> {
    const endMs = Date.now() + OUTPUT_WAIT_MS;
    for (;;) {
      const found = pattern.exec(this.out) ?? pattern.exec(this.err);
      if (found !== null) return found;
      if (this.#closed || Date.now() > endMs) {
        throw new Error(
          `${this.#closed ? "it ended" : "10 s passed"} without ${pattern}: ${this.out}${this.err}`,
        );
      }
      await Promise.race([new Promise<void>((resolve) => this.#waiting.push(resolve)), Bun.sleep(100)]);
    }
  }

  /** Where it listens, from its banner. */
  async addresses(): Promise<{
    http: string;
    httpPort: number;
    httpsPort: number;
    control: string;
    controlPort: number;
  }> {
    await this.until(/control +https?:\S+/);
    const url = (name: string) =>
      new RegExp(`^ +${name} +(https?://\\S+)`, "m").exec(this.out + this.err)?.[1] ?? "";
    const port = (name: string) => Number(url(name).split(":").at(-1));
    return {
      http: url("http"),
      httpPort: port("http"),
      httpsPort: port("https"),
      control: url("control"),
      controlPort: port("control"),
    };
  }

  get pid(): number {
    return this.child.pid;
  }

  /** Resident memory in bytes. */
  rssBytes(): number {
    return rssBytesOf(this.pid);
  }

  kill(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  /** Waits for its end. */
  async end(): Promise<ProgramEnd> {
    const status = await this.child.exited;
    await this.#output;
    return { status, out: this.out, err: this.err };
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}

/** A folder and the programs run in it; all go when the test ends. */
export class Programs {
  readonly folder = realpathSync(mkdtempSync(join(tmpdir(), "proxima-program-")));
  readonly #started: Program[] = [];

  /** Starts the program in the folder. */
  start(argv: readonly string[], options: Partial<ProgramOptions> = {}): Program {
    const program = new Program(argv, { cwd: this.folder, ...options });
    this.#started.push(program);
    return program;
  }

  /** Runs it to its end. */
  run(argv: readonly string[], options: Partial<ProgramOptions> = {}): Promise<ProgramEnd> {
    return this.start(argv, options).end();
  }

  /** Writes a file into the folder; returns its path. */
  async write(name: string, content: string): Promise<string> {
    const path = join(this.folder, name);
    await Bun.write(path, content);
    return path;
  }

  /** Ends what still runs and removes the folder. */
  async stop(): Promise<void> {
    for (const { child } of this.#started.splice(0)) {
      if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
      await child.exited;
    }
    rmSync(this.folder, { recursive: true, force: true });
  }
}

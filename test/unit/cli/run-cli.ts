/** Runs the program as a process of its own, as a person or a script does. */
import { join } from "node:path";

const FAKE_MAIN = join(import.meta.dir, "fake-main.ts");
const children: Bun.Subprocess[] = [];

/** Options of a run. */
export interface RunOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
}

function spawn(argv: readonly string[], { cwd, env }: RunOptions) {
  const { NO_COLOR: _, PROXIMA_CONTROL_TOKEN: __, ...inherited } = process.env;
  const child = Bun.spawn([process.execPath, FAKE_MAIN, ...argv], {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    env: { ...inherited, ...env },
    ...(cwd === undefined ? {} : { cwd }),
  });
  children.push(child);
  return child;
}

/** Runs a command to its end. */
export async function runCli(
  argv: readonly string[],
  options: RunOptions = {},
): Promise<{ status: number; out: string; err: string }> {
  const child = spawn(argv, options);
  const [out, err] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  return { status: await child.exited, out, err };
}

/** A command that keeps running; `until` waits for text on either stream. */
export class RunningCli {
  readonly child: ReturnType<typeof spawn>;
  out = "";
  err = "";
  #waiting: (() => void)[] = [];
  #ended = false;

  constructor(argv: readonly string[], options: RunOptions = {}) {
    this.child = spawn(argv, options);
    const read = async (stream: ReadableStream<Uint8Array>, take: (text: string) => void) => {
      const decoder = new TextDecoder();
      for await (const piece of stream) {
        take(decoder.decode(piece, { stream: true }));
        this.#wake();
      }
    };
    void Promise.all([
      read(this.child.stdout, (text) => {
        this.out += text;
      }),
      read(this.child.stderr, (text) => {
        this.err += text;
      }),
    ]).then(() => {
      this.#ended = true;
      this.#wake();
    });
  }

  /** The first match of `pattern` in what was printed; rejects when the command ends without it. */
  async until(pattern: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const found = pattern.exec(this.out) ?? pattern.exec(this.err);
      if (found !== null) return found;
      if (this.#ended) throw new Error(`ended without ${pattern}: ${this.out}${this.err}`);
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  /** Sends a signal and waits for the end. */
  async end(signal: NodeJS.Signals): Promise<number> {
    this.child.kill(signal);
    const status = await this.child.exited;
    while (!this.#ended) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    return status;
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}

/** Ends whatever a test left running. */
export async function endAll(): Promise<void> {
  for (const child of children.splice(0)) {
    if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
    await child.exited;
  }
}
